# SPDX-License-Identifier: Apache-2.0
"""Targets whose decoder has mixtures of experts from its second layer on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers import (
  ExpertFeedForward,
  FeedForward,
  TopKRouter,
)
from genrec_jax.models import TokenSeq2Seq
from genrec_jax.objectives import CodeCrossEntropy, RoutingLoss, WeightedSum
from genrec_jax.train.state import init_state
from genrec_jax.train.step import make_train_step
from genrec_jax.train.tables import Tables
from tests.models.compiled import apply

_SIZES, _RATE = (4, 5, 3), 0.01


def _backbone(**fields):
  experts = ExpertFeedForward(
    TopKRouter(2, balance_rate=_RATE), num_experts=5, hidden_width=6,
    shared_experts=1,
  )  # fmt: skip
  return LazyDecoder(
    width=8, num_layers=3, num_heads=2, head_width=4, target_tokens=3,
    ffn=experts, first_ffn=FeedForward(8, 12, 0.0),
    num_first=1, **fields,
  )  # fmt: skip


def _system():
  return TokenSeq2Seq(
    num_items=9, level_sizes=_SIZES, width=8, max_length=12,
    backbone=_backbone(),
  )  # fmt: skip


def _batch():
  rng = np.random.default_rng(0)
  codes = np.stack([rng.integers(0, s, (2, 4)) for s in _SIZES], axis=-1)
  batch = {
    "token_BL": rng.integers(0, sum(_SIZES), (2, 6)),
    "segment_ids_BL": np.ones((2, 6)),
    "positions_BL": np.tile(np.arange(6), (2, 1)),
    "target_segment_BS": np.array([[1, 1, 1, 0], [1, 0, 0, 0]]),
    "target_item_BS": np.array([[1, 2, 3, 0], [4, 0, 0, 0]]),
    "target_codes_BSM": codes,
  }
  return {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}


def _params(batch):
  params = _system().init(jax.random.key(0), batch, deterministic=True)
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype), params
  )


def test_layers_are_dense_first_and_then_mixtures():
  params = _params(_batch())["params"]["backbone"]
  assert params["ffns_0"].keys() == {"in", "out"}
  for layer in ("ffns_1", "ffns_2"):
    assert params[layer].keys() >= {"experts", "routing", "shared_in"}
  axes = _backbone().logical_axes
  assert axes["ffns_0/in/kernel"] == FeedForward.logical_axes["in/kernel"]
  assert axes["ffns_*/experts/in"][0] == "expert"


def test_real_tokens_take_two_experts_in_two_layers_and_padding_none():
  batch = _batch()
  params = _params(batch)
  outputs = apply(_system(), params, batch, deterministic=True)
  routed = outputs.aux["routed"]
  assert len(routed) == 2
  for one in routed:
    assert float(jnp.sum(one.load)) == 2 * 4 * 3
  # What stands at a place of padding changes nothing of what is real.
  codes = batch["target_codes_BSM"]
  there = np.asarray(batch["target_item_BS"]) > 0
  moved = {
    **batch,
    "target_codes_BSM": jnp.where(there[..., None], codes, 2 - codes % 3),
  }
  other = apply(_system(), params, moved, deterministic=True)
  np.testing.assert_array_equal(
    np.asarray(other.logits)[there], np.asarray(outputs.logits)[there]
  )


def test_a_step_moves_each_balance_towards_an_even_load():
  batch = _batch()
  params = _params(batch)["params"]
  objective = WeightedSum(
    {"codes": CodeCrossEntropy(), "routing": RoutingLoss()},
    {"codes": 1.0, "routing": 1.0},
  )
  optimizer = optax.sgd(1e-2)
  state = init_state(params, optimizer, Tables(_system().logical_axes, None))
  step = make_train_step(_system(), objective, optimizer, jax.random.key(2))
  after, metrics = jax.jit(step)(state, batch)
  routed = apply(_system(), {"params": params}, batch, deterministic=True).aux[
    "routed"
  ]
  for layer, one in zip(("ffns_1", "ffns_2"), routed, strict=True):
    before, now = (
      p["backbone"][layer]["routing"]["balance"] for p in (params, after.params)
    )
    load = np.asarray(one.load)
    np.testing.assert_allclose(
      now - before, _RATE * np.sign(load.mean() - load), atol=1e-6
    )
  assert metrics["parts"]["routing/load_peak"].compute() >= 1


def test_beams_take_the_experts_of_whole_targets():
  """One code after the other, with the cache: the states of one pass."""
  model = _backbone()
  rng = np.random.default_rng(4)
  x = jnp.asarray(rng.normal(size=(2, 6, 8)), jnp.float32)
  y = jnp.asarray(rng.normal(size=(2, 4, 3, 8)), jnp.float32)
  ones, none = jnp.ones((2, 6), jnp.int32), jnp.zeros((2, 6), jnp.int32)
  info = SequenceInfo(ones, jnp.tile(jnp.arange(6), (2, 1)), none, none)
  segments = jnp.ones((2, 4), jnp.int32)

  def whole(model, x, y):
    memory = model.encode(x, info, True)
    return model.decode(y, segments, memory, info, True)

  params = model.init(jax.random.key(5), x, y, method=whole)
  expected = jax.jit(lambda p: model.apply(p, x, y, method=whole))(params)

  def steps(model, x, y):
    _, cache = model.start(x, info, 3)
    cache = cache.follow(jnp.zeros((2, 4), jnp.int32), 4)
    found = []
    for place in range(3):
      one = jnp.ones((2, 1), jnp.int32)
      at = SequenceInfo(one, place * one, 0 * one, 0 * one)
      h, cache = model.step(y[:, :, place], cache, at)
      found.append(h)
    return jnp.stack(found, axis=2)

  found = jax.jit(lambda p: model.apply(p, x, y, method=steps))(params)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_first_part_and_its_layers_come_together():
  for fields in ({"num_first": 0}, {"first_ffn": None}):
    with pytest.raises(ValueError, match="layers have the feed-forward part"):
      dataclasses.replace(_backbone(), **fields)
