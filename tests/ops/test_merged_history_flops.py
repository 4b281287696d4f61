# SPDX-License-Identifier: Apache-2.0
"""Formulas of cost against the products of compiled programs."""

import functools

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.backbones.cross_causal import CrossCausal
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.layers.read_block import ReadBlock
from genrec_jax.ops.chunked_softmax import attend
from genrec_jax.ops.merged_history_flops import (
  candidate_flops,
  history_flops,
  inner_flops,
  layer_flops,
  merged_layer_flops,
  merging_saves,
)


def _flops(function, *arguments):
  """Of the compiled products; arguments are shapes or trees of them."""
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments
  )
  compiled = jax.jit(function).lower(*shapes).compile()
  cost = program_cost(hlo.parse(compiled.as_text()))
  assert not cost.unknown_loops
  return cost.flops


@functools.cache
def _layer(rows, width, batch=1):
  """Counted FLOPs of a layer whose rows see each other."""
  block = ReadBlock(width, num_heads=1)

  def run(module, x):
    k, v = module.keys_values(x)
    moments = jnp.zeros(x.shape[:2], jnp.int32)

    def look(q):
      return attend(q, k, v, moments, moments)[0]

    return module(x, look, True)

  x = jax.ShapeDtypeStruct((batch, rows, width), jnp.float32)
  init = jax.eval_shape(
    lambda key, x: block.init(key, x, method=run), jax.random.key(0), x
  )
  return _flops(lambda p, x: block.apply(p, x, method=run), init, x)


def test_the_published_example():
  """587M and 336M of one layer at 2,048 events of width 32: 42.8 % less."""
  one = merged_layer_flops(2048, 32, 1)
  four = merged_layer_flops(2048, 32, 4)
  assert (one, four) == (587_202_560, 335_544_320)
  assert 1 - four / one == pytest.approx(0.428, abs=0.001)
  assert _layer(2048, 32) == pytest.approx(one, rel=0.05)
  assert _layer(512, 128) == pytest.approx(four, rel=0.05)


@pytest.mark.parametrize(
  ("size", "width"), [(4, 4), pytest.param(2, 8, marks=pytest.mark.slow)]
)
def test_merging_saves_beyond_six_events_a_width_and_a_group(size, width):
  border = 6 * size * width
  for events in (border * 3 // 4, border * 5 // 4):
    counted = _layer(events // size, size * width)
    alone = _layer(events, width)
    assert counted == pytest.approx(
      merged_layer_flops(events, width, size), rel=0.05
    )
    assert merging_saves(events, width, size) == (counted < alone)
  even = [merged_layer_flops(border, width, k) for k in (1, size)]
  assert even[0] == even[1] and not merging_saves(border, width, size)
  assert not merging_saves(10**6, width, 1)


def test_a_layer_within_groups():
  events, width, size = 64, 16, 4
  found = inner_flops(events, width, size)
  assert found == 24 * events * width**2 + 4 * events * size * width
  counted = _layer(size, width, events // size)
  assert counted == pytest.approx(found, rel=0.05)


@pytest.mark.slow
def test_a_history_once_and_candidates_behind_it():
  width, tokens, recent, layers, own = 16, 40, 6, 2, 2
  stack = CrossCausal(
    width, num_heads=2, num_recent=recent, self_layers=layers, block=16
  )
  summaries = jax.ShapeDtypeStruct((1, 1, width), jnp.float32)
  history = jax.ShapeDtypeStruct((1, tokens, width), jnp.float32)
  there = jax.ShapeDtypeStruct((1, tokens), jnp.bool_)
  candidates = jax.ShapeDtypeStruct((1, 5, own, width), jnp.float32)

  def encode(module, *inputs):
    return module.encode(*inputs, True)

  def read(module, *inputs):
    return module.read(*inputs, True)

  params = jax.eval_shape(
    lambda key, *x: stack.init(key, *x, method=encode),
    *(jax.random.key(0), summaries, history, there),
  )
  apply = functools.partial(stack.apply, method=encode)
  kept = jax.eval_shape(apply, params, summaries, history, there)
  rows, queries = 1 + tokens, 1 + recent
  once = history_flops(rows, queries, width, layers)
  counted = _flops(apply, params, summaries, history, there)
  # The last block of keys is not full.
  assert counted == pytest.approx(once, rel=0.05)
  each = candidate_flops(rows, queries, width, layers, own)
  counted = _flops(
    functools.partial(stack.apply, method=read), params, kept, candidates
  )
  assert counted == pytest.approx(5 * each, rel=0.05)
  assert layer_flops(7, 7, 16) == 24 * 7 * 16**2 + 4 * 7**2 * 16
