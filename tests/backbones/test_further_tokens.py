# SPDX-License-Identifier: Apache-2.0
"""A history read in two parts is the history read at once, for each backbone:
states of the second part, and of candidates behind both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones import (
  HSTU,
  STU,
  CausalTransformer,
  PreNormDecoder,
  ResearchSASRec,
)
from genrec_jax.core.roles import CONTEXT, EVENT, TARGET
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention, SoftmaxAttention
from genrec_jax.layers.cache import Cache
from genrec_jax.layers.further_tokens import can_extend, read_on, seen_in_run
from genrec_jax.layers.rotary_positions import RotaryPositions
from genrec_jax.ops.visible_keys import visible_keys

_D = 8
# Of each row: what was read before, and what there is in all.
_KEPT, _COUNT = np.array([5, 2, 6, 4]), np.array([9, 4, 7, 4])
_L, _C, _N = 9, 6, 4
_HEADS = {"num_layers": 2, "num_heads": 2, "key_width": 4, "value_width": 3}
_BACKBONES = {
  "hstu": HSTU(
    **_HEADS, num_positions=16, attention=SiluAttention(4.0, window=3)
  ),
  "causal": CausalTransformer(_D, 2, 2, 4, 16, num_buckets=8, max_distance=7),
  "decoder": PreNormDecoder(
    **_HEADS,
    ffn_width=16,
    attention=SoftmaxAttention(),
    rotary=RotaryPositions(),
    scan=True,
  ),
  "stu": STU(**_HEADS, attention=SiluAttention(2.0)),
}


def _info(arrays):
  return SequenceInfo(*map(jnp.asarray, arrays))


def _rows(x_BLx, first, count, length):
  """Places from `first` on, `count` of each row, the rest 0."""
  found = np.zeros((len(x_BLx), length, *x_BLx.shape[2:]), x_BLx.dtype)
  for row, (start, n) in enumerate(zip(first, count, strict=True)):
    found[row, :n] = x_BLx[row, start : start + n]
  return found


def _case(seed=0):
  draw = np.random.default_rng(seed)
  x = draw.normal(size=(4, _L, _D)).astype(np.float32)
  there = (np.arange(_L) < _COUNT[:, None]).astype(np.int32)
  times = np.cumsum(draw.integers(1, 10**5, (4, _L)), axis=1)
  told = (there, there * np.arange(_L), times, times + 77)
  told = [np.asarray(a * there, np.int32) for a in told]
  return np.where(there[:, :, None], x, 0), told


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(n, marks=pytest.mark.slow if n == "stu" else ())
    for n in _BACKBONES
  ],
)
def test_a_history_in_two_parts_is_the_history(name):
  backbone = _BACKBONES[name]
  assert can_extend(backbone)
  x, told = _case()
  nothing = np.zeros(4, int)
  before = [_rows(a, nothing, _KEPT, _C) for a in (x, *told)]
  new = [_rows(a, _KEPT, _COUNT - _KEPT, _N) for a in (x, *told)]
  candidates = np.random.default_rng(1).normal(size=(4, 3, _D))
  last = np.stack([_COUNT, told[3].max(axis=1) + 5]).astype(np.int32)

  def apply(params, method, *args):
    return backbone.apply(params, *args, method=method)

  @jax.jit
  def both(params, x, told, before, new, candidates, last):
    start = functools.partial(apply, params, "start")
    place, time = (jnp.broadcast_to(a[:, None], (4, 3)) for a in last)
    targets = SequenceInfo(
      jnp.ones_like(place), place, time, time, jnp.full_like(place, TARGET)
    )

    def behind(cache):
      parents = jnp.zeros_like(place)
      y = apply(params, "step", candidates, cache, targets, parents)[0]
      return y

    h, cache = start(x, _info(told), 0)
    _, first = start(before[0], _info(before[1:]), 0)
    bound = backbone.bind(params)
    h_new, whole = read_on(
      bound,
      new[0],
      _info(new[1:]),
      first.shared,
      _info(before[1:]),
    )
    # All of it at once, behind nothing.
    empty = bound.init_cache(4, 0)
    h_all, _ = bound.extend(x, empty, _info(told))
    return (h, h_all, h_new), behind(cache), behind(whole), whole.info

  shapes = jax.eval_shape(
    functools.partial(backbone.init, deterministic=True),
    jax.random.key(0),
    jnp.asarray(x),
    _info(told),
  )
  draw = np.random.default_rng(2)
  params = jax.tree.map(
    lambda s: jnp.asarray(0.4 * draw.normal(size=s.shape), s.dtype), shapes
  )
  (h, h_all, h_new), expected, found, info = both(
    params, x, told, before, new, np.float32(candidates), last
  )
  np.testing.assert_allclose(found, expected, atol=2e-5)
  for row, (kept, count) in enumerate(zip(_KEPT, _COUNT, strict=True)):
    np.testing.assert_allclose(h_all[row, :count], h[row, :count], atol=2e-5)
    np.testing.assert_allclose(
      h_new[row, : count - kept], h[row, kept:count], atol=2e-5
    )
  for mine, whole in zip(jax.tree.leaves(info), told, strict=True):
    mine = np.where(np.asarray(info.segment_ids_BL) > 0, mine, 0)
    np.testing.assert_array_equal(mine[:, :_L], whole)


@pytest.mark.parametrize("window", [0, 3])
def test_what_further_tokens_see_is_what_they_see_in_whole_rows(window):
  """Context and events with limits of their own, in two parts."""

  def told(roles, limits, length):
    pad = (0, length - len(roles))
    ones = np.ones_like(roles)
    arrays = ones, 0 * ones, 0 * ones, 0 * ones, roles, limits
    return _info([np.pad(x, pad)[None] for x in arrays])

  @jax.jit
  def masks(whole, before, new):
    cache = Cache.empty(1, 0, 0, 1, (1, 1), "float32").behind((), before)
    keys = seen_in_run(cache, new, window)
    shared, run = keys.of_shared()[0], keys.of_new()[0]
    return visible_keys(whole, window).mask(12), shared, run

  draw = np.random.default_rng(7)
  for number in range(40):
    context, events = (int(n) for n in draw.integers((1, 1), (4, 9)))
    count = context + events
    kinds = [CONTEXT] * context + [EVENT] * events
    roles, limits = np.array(kinds, np.int32), np.full(count, -1, np.int32)
    limits[:context] = context
    if number % 2:
      limits[context:] = draw.integers(-1, count + 1, events)
    kept = int(draw.integers(0, count))
    whole, shared, run = masks(
      told(roles, limits, 12),
      told(roles[:kept], limits[:kept], 12),
      told(roles[kept:], limits[kept:], 12),
    )
    more = count - kept
    np.testing.assert_array_equal(
      shared[0, :more, :kept], whole[0, kept:count, :kept]
    )
    np.testing.assert_array_equal(
      run[0, :more, :more], whole[0, kept:count, kept:count]
    )
    assert not shared[0, :, kept:].any() and not run[0, :, more:].any()
    assert not run[0, more:].any()


def test_who_cannot_go_on_says_so():
  spared = SiluAttention(4.0, window=3, full=1)
  assert not can_extend(_BACKBONES["hstu"].clone(attention=spared))
  assert not can_extend(ResearchSASRec(1, 1, 8))
