# SPDX-License-Identifier: Apache-2.0
"""Rotary places against complex numbers, pair by pair."""

import cmath

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.rotary_positions import RotaryPositions
from genrec_jax.ops.rotary_positions import position_turns
from genrec_jax.ops.rotary_time import rotate

_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(2, 5, 2, 6)).astype(np.float32)
_PLACES = _RNG.integers(0, 60, (2, 5)).astype(np.int32)


def _turned(x, places, base=100.0):
  turns = position_turns(jnp.asarray(places), x.shape[-1] // 2, base)
  return np.asarray(rotate(jnp.asarray(x), turns))


def test_a_pair_is_a_complex_number_that_turns():
  found = _turned(_X, _PLACES)
  for b, i, h, f in np.ndindex(2, 5, 2, 3):
    z = complex(_X[b, i, h, f], _X[b, i, h, f + 3])
    z *= cmath.exp(1j * int(_PLACES[b, i]) * 100.0 ** (-2 * f / 6))
    np.testing.assert_allclose(
      [found[b, i, h, f], found[b, i, h, f + 3]], [z.real, z.imag], atol=1e-5
    )


def test_scores_know_differences_alone():
  q, k = _X[:1], _X[1:]

  def scores(query_places, key_places):
    q_turned, k_turned = _turned(q, query_places), _turned(k, key_places)
    return np.einsum("bihk,bihk->bih", q_turned, k_turned)

  here, there = _PLACES[:1], _PLACES[1:]
  base = scores(here, there)
  np.testing.assert_allclose(scores(here + 17, there + 17), base, atol=1e-4)
  assert np.abs(scores(here + 1, there) - base).max() > 0.1


def test_what_cannot_turn():
  with pytest.raises(ValueError, match="base=1.0 must be above 1"):
    RotaryPositions(1.0)
  zeros = jnp.zeros((1, 2), jnp.int32)
  with pytest.raises(ValueError, match="key_width=5 must be even"):
    RotaryPositions().turns(SequenceInfo(zeros, zeros, zeros, zeros), 5)
