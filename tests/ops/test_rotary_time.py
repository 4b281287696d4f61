# SPDX-License-Identifier: Apache-2.0
"""Rotary time against complex numbers in float64 and exact differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.ops.rotary_time import (
  DAY,
  WEEK,
  YEAR,
  geometric_periods,
  rotate,
  turns,
)

_PERIODS = (DAY, WEEK, YEAR, *geometric_periods(60, 2 * YEAR, 9))
_WIDTH = 2 * len(_PERIODS) + 4


def _unit(seed, length=40):
  """Vectors (1, L, 1, K) of length 1."""
  x = np.random.default_rng(seed).normal(size=(1, length, 1, _WIDTH))
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def _times(seed, first, length=40):
  """Irregular times of two years, the last of them asked about."""
  rng = np.random.default_rng(seed)
  return np.sort(first + rng.integers(0, 2 * YEAR, (1, length)), axis=1)


@jax.jit
def _scores(q, k, asked, happened):
  """(L, L) of one row and one head."""
  q = rotate(q, turns(asked, _PERIODS))
  k = rotate(k, turns(happened, _PERIODS))
  return jnp.einsum("bihk,bjhk->ij", q, k, precision="highest")


def _at(times):
  return jnp.asarray(times.astype(np.int32))


def _by_differences(q, k, asked, happened):
  """Sum of Re(q conj(k) e^{2 pi i (t_i - t_j) / P}): differences alone."""
  half, turned = _WIDTH // 2, len(_PERIODS)
  q, k = (x[0, :, 0].astype(np.float64) for x in (q, k))
  q, k = (x[:, :half] + 1j * x[:, half:] for x in (q, k))
  gap = asked[0, :, None, None] - happened[0, None, :, None]
  phase = np.zeros((len(q), len(k), half))
  phase[:, :, :turned] = gap % np.array(_PERIODS) / np.array(_PERIODS)
  pairs = q[:, None] * k[None].conj() * np.exp(2j * np.pi * phase)
  return pairs.real.sum(axis=-1)


@pytest.mark.parametrize("first", [1_800_000_000, -1_800_000_000, 0])
def test_scores_are_those_of_exact_differences(first):
  q, k, happened = _unit(0), _unit(1), _times(2, first)
  asked = happened + 3 * DAY + 17
  found = _scores(q, k, _at(asked), _at(happened))
  expected = _by_differences(q, k, asked, happened)
  assert np.abs(expected).max() > 0.3
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_no_shift_moves_a_score():
  q, k, times = _unit(0), _unit(1), _times(2, 0)
  still = _scores(q, k, _at(times), _at(times))
  shifts = np.random.default_rng(3).integers(-(2**31), 2**31 - 2 * YEAR - 1, 20)
  for shift in (*shifts, 1, YEAR, 1_800_000_000):
    moved = _scores(q, k, _at(times + shift), _at(times + shift))
    np.testing.assert_allclose(moved, still, rtol=0, atol=1e-6)
  # And what is asked later is another score.
  later = _scores(q, k, _at(times + 6 * 3600), _at(times))
  assert np.abs(later - still).max() > 0.1


@pytest.mark.parametrize("period", [DAY, YEAR, 977, 2**31 - 1])
def test_a_period_apart_is_the_same_time_to_the_bit(period):
  times = np.arange(40)[None] * 86_399 - 10**9
  apart = times + period * min(3, 2**31 // period)
  both = [turns(_at(t), (period,)) for t in (times, apart)]
  np.testing.assert_array_equal(both[0].cos_BLF, both[1].cos_BLF)
  np.testing.assert_array_equal(both[0].sin_BLF, both[1].sin_BLF)
  half = turns(_at(times + period // 2), (period,))
  assert np.abs(half.cos_BLF - both[0].cos_BLF).max() > 1


def test_of_a_time_that_is_not_known_only_pairs_that_stand_still_count():
  q, k, times = _unit(0), _unit(1), _times(2, 10**9)
  asked = np.where(np.arange(40) % 3 == 0, UNKNOWN_TIME, times)
  happened = np.where(np.arange(40) % 2 == 0, UNKNOWN_TIME, times)
  found = _scores(q, k, _at(asked), _at(happened))
  half, turned = _WIDTH // 2, len(_PERIODS)
  still = [*range(turned, half), *range(half + turned, _WIDTH)]
  expected = np.einsum("ik,jk->ij", *(x[0, :, 0][:, still] for x in (q, k)))
  known = (asked != UNKNOWN_TIME).T & (happened != UNKNOWN_TIME)
  np.testing.assert_allclose(
    np.where(known, 0, found), np.where(known, 0, expected), atol=1e-6
  )
  assert np.abs(found - expected)[known].max() > 0.1
  gradients = jax.grad(
    lambda q, k: jnp.sum(_scores(q, k, _at(asked), _at(happened)) ** 2),
    argnums=(0, 1),
  )(q, k)
  assert all(np.isfinite(x).all() and np.any(x) for x in gradients)


def test_turning_keeps_the_dtype_and_what_has_no_period():
  x = jnp.asarray(_unit(0), jnp.bfloat16)
  found = rotate(x, turns(_at(_times(1, 0)), (DAY,)))
  assert found.dtype == jnp.bfloat16
  same = np.asarray(found == x).reshape(40, _WIDTH).all(axis=0)
  assert np.flatnonzero(~same).tolist() == [0, _WIDTH // 2]


def test_four_centuries_of_years_are_their_days():
  assert 400 * YEAR == (400 * 365 + 97) * DAY


def test_periods_grow_in_equal_ratios():
  periods = geometric_periods(100, 100_000, 4)
  assert periods == (100, 1000, 10_000, 100_000)
  assert geometric_periods(DAY, DAY, 1) == (DAY,)


@pytest.mark.parametrize("period", [0, 1, -DAY, 2**31])
def test_what_is_no_period_is_refused(period):
  with pytest.raises(ValueError, match=f"a period of {period!r} s"):
    turns(_at(_times(0, 0)), (DAY, period))


@pytest.mark.parametrize("ends", [(10, 5, 3), (10, 20, 0), (10, 20, 1)])
def test_periods_that_do_not_grow_are_refused(ends):
  with pytest.raises(ValueError, match=f"{ends[2]} periods from {ends[0]}"):
    geometric_periods(*ends)


def test_more_periods_than_pairs_are_refused():
  with pytest.raises(ValueError, match="turns 3 pairs .* have 4: .* least 6"):
    rotate(
      jnp.zeros((1, 2, 1, 4)), turns(jnp.zeros((1, 2), jnp.int32), (2, 3, 4))
    )
