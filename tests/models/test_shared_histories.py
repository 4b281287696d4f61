# SPDX-License-Identifier: Apache-2.0
"""All targets behind one reading of a history are prefixes read one by one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core.types import Items
from genrec_jax.data.dataset import Feedback
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.features import WatchPercentiles
from genrec_jax.data.features.watch_percentiles import FittedPercentiles
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.token_targets import TokenTargets
from genrec_jax.data.layouts.watched import Watched
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.models.liger_seq2seq import LigerSeq2Seq
from genrec_jax.models.token_decoder import TokenDecoder
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from genrec_jax.objectives.target_weights import TakenTargets
from genrec_jax.objectives.tokens import CodeCrossEntropy
from tests.models.compiled import apply

_SIZES, _V, _SEEN, _EVENTS = (5, 7, 4), 30, 3, 6
# Longer than what a target sees, and than what a batch reads of it.
_USERS = ([1, 2, 3, 4, 5], [9, 8], [11, 12, 13, 14, 15, 16, 17, 18, 19])
_T5 = {"width": 16, "num_heads": 2, "head_width": 8}


def _codes():
  rng = np.random.default_rng(0)
  codes = np.stack([rng.integers(0, s, _V + 1) for s in _SIZES], axis=1)
  codes[0] = 0
  return codes.astype(np.int32)


_CODES = _codes()
_PREFIXES = TokenPrefixes(_SEEN, _SIZES, codes=_CODES)
_SHARED = TokenTargets(_SEEN, _SIZES, max_events=_EVENTS, codes=_CODES)


# Five items of the last user were shown by one request, behind one context.
_REQUESTS = ([0, 1, 1, 2, 3], [0, 1], [0, 1, 2, 2, 2, 2, 2, 3, 3])
_WATCHED = dataclasses.replace(
  Watched(WatchPercentiles("seconds"), ("click",)),
  fitted=FittedPercentiles(
    np.array([0, 5, 7, 16]),
    np.linspace(0, 1, 16, dtype=np.float32),
    np.ones(16, np.float32),
  ),
  feedback=Feedback(("click",)).bind(["", "skip", "click"]),
)


def _system(backbone=None):
  backbone = backbone or LazyDecoder(
    **_T5, num_layers=1, ffn=FeedForward(16, 24, 0.0), target_tokens=3,
    recency_buckets=4, max_distance=5,
  )  # fmt: skip
  return TokenSeq2Seq(
    num_items=_V, level_sizes=_SIZES, width=16,
    max_length=_SHARED.max_length, backbone=backbone,
  )  # fmt: skip


def _record(user):
  items = np.array(_USERS[user], np.int32)
  return {
    "user": np.array(user, np.int32),
    "item": items,
    "action": 1 + (items % 3 > 0).astype(np.int32),
    "request": np.array(_REQUESTS[user], np.int32),
  }


def _packed(layout, rows, length):
  """Rows of a batch, each of the examples that are packed into it."""
  columns = np.zeros((len(rows), length, layout.num_columns), np.int32)
  segments = np.zeros(columns.shape[:2], np.int32)
  positions = np.zeros_like(segments)
  for row, examples in enumerate(rows):
    start = 0
    for number, example in enumerate(examples):
      end = start + len(example)
      columns[row, start:end] = example
      segments[row, start:end] = number + 1
      positions[row, start:end] = np.arange(len(example))
      start = end
  batch = layout.batch(columns, segments, positions)
  return jax.tree.map(jnp.asarray, batch)


def _one_by_one(watched=None, events=_EVENTS):
  """Every prefix in a row of its own, but those that the last user lacks."""
  prefixes = dataclasses.replace(_PREFIXES, watched=watched)
  rows = []
  for user in range(len(_USERS)):
    record = _record(user)
    count = len(record["item"])
    start = max(0, count - 1 - events)
    first = start + _SEEN if start else 1
    for target in range(first, count):
      if watched is None or watched.targets(record)[target]:
        rows.append([prefixes.example(record, target + 1)])
  return _packed(prefixes, rows, prefixes.max_length)


def _at_once(watched=None, events=_EVENTS):
  shared = dataclasses.replace(_SHARED, watched=watched, max_events=events)
  examples = [
    shared.example(_record(u), len(_USERS[u])) for u in range(len(_USERS))
  ]
  return _packed(shared, [examples[:2], examples[2:]], events * len(_SIZES))


@jax.jit
def _loss(params, batch):
  outputs = _system().apply(params, batch, deterministic=True)
  items = Items(_V, lambda ids: ids)
  loss = CodeCrossEntropy()
  if "target_taken_BS" in batch:
    loss = TakenTargets(loss, by_percentile=True)
  return loss(outputs, batch, rng=jax.random.key(0), items=items)[0]


def _drawn(system, batch):
  params = system.init(jax.random.key(0), batch, deterministic=True)
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(0.6 * rng.normal(size=x.shape), x.dtype), params
  )


@pytest.mark.parametrize("watched", [None, _WATCHED])
def test_loss_and_gradients_are_those_of_prefixes(watched):
  # All of the last user's, whose requests reach back further.
  sizes = (watched, 8 if watched else _EVENTS)
  alone, shared = _one_by_one(*sizes), _at_once(*sizes)
  assert int((shared["target_item_BS"] > 0).sum()) == len(alone["token_BL"])
  params = _drawn(_system(), alone)
  wanted, found = (
    jax.jit(jax.value_and_grad(_loss))(params, batch)
    for batch in (alone, shared)
  )
  np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
  for (path, value), right in zip(
    jax.tree_util.tree_leaves_with_path(found[1]),
    jax.tree.leaves(wanted[1]),
    strict=True,
  ):
    scale = float(np.max(np.abs(right)))
    np.testing.assert_allclose(
      value, right, atol=1e-5 * scale, err_msg=jax.tree_util.keystr(path)
    )
    assert scale > 0


def test_a_search_reads_what_training_reads():
  """Logits of the first level, by the cache and by the whole pass."""
  system, shared = _system(), _at_once()
  params = _drawn(system, shared)
  whole = apply(system, params, shared, deterministic=True).logits
  # The last target of the first user stands at its fourth event.
  requests = make_requests([(_record(0), len(_USERS[0]) - 1)])
  batch = jax.tree.map(jnp.asarray, _SHARED.request_batch(requests))
  _, logits_BC = apply(system, params, batch, method="start")
  np.testing.assert_allclose(
    logits_BC[0], whole[0, 3, 0, : _SIZES[0]], atol=2e-5
  )


def test_a_model_to_which_events_are_not_apart_is_refused():
  _SHARED.check_system(_system())
  encoder = EncoderDecoder(
    **_T5, num_encoder_layers=1, num_decoder_layers=1, ffn_width=8
  )
  causal = CausalTransformer(**_T5, num_layers=1, ffn_width=8)
  other = TokenDecoder(
    num_items=_V, level_sizes=_SIZES, width=16, num_positions=4, backbone=causal
  )
  for system, message in (
    (_system(encoder), "an event depends on those behind it"),
    (other, "lacks shares_history"),
  ):
    with pytest.raises(ValueError, match=message):
      _SHARED.check_system(system)
  # Whatever its backbone, it reads a vector at the end of a history.
  assert LigerSeq2Seq.shares_history is False
