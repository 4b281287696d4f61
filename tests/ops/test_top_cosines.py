# SPDX-License-Identifier: Apache-2.0
"""Sorted cosines against a loop; order and padding have no say."""

import jax
import numpy as np
import pytest

from genrec_jax.ops.top_cosines import top_cosines

_top = jax.jit(top_cosines, static_argnums=3)


def _case(seed=0):
  rng = np.random.default_rng(seed)
  candidate = rng.normal(size=(2, 3, 5)).astype(np.float32)
  history = rng.normal(size=(2, 3, 6, 5)).astype(np.float32)
  where = rng.random((2, 3, 6)) < 0.6
  where[0, 0] = False
  history[~where] = 0
  return candidate, history, where


@pytest.mark.parametrize("k", [1, 4, 8])
def test_they_are_those_of_a_loop(k):
  candidate, history, where = _case()
  found = np.asarray(_top(candidate, history, where, k))
  for b, n in np.ndindex(2, 3):
    c = candidate[b, n].astype(np.float64)
    cosines = [
      c @ e / np.linalg.norm(c) / np.linalg.norm(e)
      for e in history[b, n][where[b, n]].astype(np.float64)
    ]
    wanted = sorted(cosines, reverse=True)[:k]
    wanted += [-1.0] * (k - len(wanted))
    np.testing.assert_allclose(found[b, n], wanted, rtol=1e-5, atol=1e-6)


def test_order_and_padding_change_nothing():
  candidate, history, where = _case(1)
  found = np.asarray(_top(candidate, history, where, 4))
  order = np.random.default_rng(2).permutation(6)
  again = _top(candidate, history[:, :, order], where[:, :, order], 4)
  np.testing.assert_array_equal(found, again)
  history[~where] = 7.0
  np.testing.assert_array_equal(found, _top(candidate, history, where, 4))
  history[where] *= 3
  scaled = _top(candidate, history, where, 4)
  np.testing.assert_allclose(found, scaled, rtol=1e-5, atol=1e-6)
