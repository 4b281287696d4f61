# SPDX-License-Identifier: Apache-2.0
"""Tiny models over the stored data, whose parameters are far from small, and
their searches without a cache."""

import dataclasses
import functools

import jax
import numpy as np

from genrec_jax.backbones import HSTU, CausalTransformer
from genrec_jax.core.loaded_model import LoadedModel
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.next_item import NextItem as NextItemLayout
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.decoding.trie import Trie
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models import NextItem, TokenDecoder
from genrec_jax.retrieval import Beam, BruteForce
from genrec_jax.retrieval.generative import Generative
from genrec_jax.retrieval.model_search import ModelSearch
from genrec_jax.retrieval.strategy import BoundModel, SearchItems
from genrec_jax.service import resumption
from genrec_jax.service.shapes import Shapes
from tests.service import fakes

# Events that a model reads, rows of a batch, places of a list.
WINDOW, ROWS, PLACES = 16, 4, 16
SHAPES = Shapes(
  batches=(ROWS,), lists=(PLACES,), histories=(1, 17), micro_batch=4
)
EPOCH = fakes.histories().manifest.epoch_seconds
_D = 8
HSTU_BACKBONE = HSTU(
  num_layers=2,
  num_heads=1,
  key_width=4,
  value_width=4,
  num_positions=WINDOW + 4,
  attention=SiluAttention(4.0),
)
TRANSFORMER = CausalTransformer(_D, 2, 1, 4, 8, num_buckets=8, max_distance=9)
BACKBONES = {"hstu": HSTU_BACKBONE, "transformer": TRANSFORMER}


def loaded(system, batch, seed=0):
  """The model with drawn parameters on one device."""
  shapes = jax.eval_shape(
    functools.partial(system.init, deterministic=True), jax.random.key(0), batch
  )
  draw = np.random.default_rng(seed)
  params = jax.tree.map(
    lambda s: (0.5 * draw.normal(size=s.shape)).astype(s.dtype),
    shapes["params"],
  )
  params = jax.device_put(params, jax.devices()[0])

  def ask_of(params):
    return functools.partial(system.apply, {"params": params})

  return LoadedModel(system, params, ask_of)


def requests(records, times, keys=None):
  """One of each record."""
  count = len(records)
  return Requests(
    user=np.array([r["user"] for r in records], np.int32),
    target=np.zeros(count, np.int32),
    history=list(records),
    query_time=np.array(times, np.int32),
    event=np.zeros(count, np.int32),
    key=keys,
  )


def record(items, times, actions=None):
  """A history; its action is `view` where nothing is said."""
  count = len(items)
  actions = [1] * count if actions is None else actions
  return {
    "user": np.array(-1, np.int32),
    "item": np.array(items, np.int32),
    "time": np.array(times, np.int32),
    "action": np.array(actions, np.int32),
    "value": np.full(count, np.nan, np.float32),
    "request": np.arange(count, dtype=np.int32),
  }


def by_vectors(backbone):
  """A search for the next item, and how its model goes on."""
  layout = NextItemLayout(max_length=WINDOW)
  system = NextItem(
    num_items=fakes.NUM_ITEMS,
    width=_D,
    num_positions=WINDOW,
    backbone=backbone,
  )
  two = requests([record([1, 2], [0, 9])], [20])
  model = loaded(system, layout.request_batch(two))
  ask = jax.jit(
    lambda params, batch: model.ask_of(params)(batch, method="query")
  )
  items = jax.jit(lambda params: model.ask_of(params)(method="items"))
  search = ModelSearch(
    functools.partial(ask, model.params),
    lambda some: layout.shortened(layout.request_batch(some)),
    BruteForce.build(items(model.params), devices=jax.devices()[:1]),
    ROWS,
  )
  return search, resumption.of_vectors(model, layout, EPOCH)


def by_codes():
  """A search by beams of codes, and how its model goes on."""
  sizes = (3, 4, 5)
  draw = np.random.default_rng(3)
  codes = np.stack(
    [draw.integers(0, n, fakes.NUM_ITEMS + 1) for n in sizes], axis=1
  ).astype(np.int32)
  layout = dataclasses.replace(
    TokenHistory(max_length=WINDOW, num_levels=3), codes=codes
  )
  system = TokenDecoder(
    num_items=fakes.NUM_ITEMS,
    level_sizes=sizes,
    width=_D,
    num_positions=WINDOW,
    backbone=TRANSFORMER,
  )
  two = requests([record([1, 2], [0, 9])], [20])
  model, strategy = loaded(system, layout.request_batch(two)), Beam(6)

  @jax.jit
  def decode(params, batch, items, words):
    ask = model.ask_of(params)
    return strategy(BoundModel(ask, batch), items, words)

  search = Generative(
    functools.partial(decode, model.params),
    layout.request_batch,
    SearchItems(Trie.build(codes, sizes), np.zeros(fakes.NUM_ITEMS + 1, bool)),
    ROWS,
    num_results=6,
  )
  return search, resumption.of_codes(model, layout, strategy, EPOCH)
