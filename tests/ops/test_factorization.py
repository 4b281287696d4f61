# SPDX-License-Identifier: Apache-2.0
"""Products of pairs, against going through the pairs; and what they cost."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.factorization import pair_dots, pair_sum, projected_dots


def _x(*shape):
  x = np.random.default_rng(0).normal(size=shape)
  return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("features", [1, 2, 7])
def test_the_sum_over_pairs(features):
  x = _x(3, features, 5)
  pairs = itertools.combinations(range(features), 2)
  naive = sum((x[:, i] * x[:, j] for i, j in pairs), jnp.zeros((3, 5)))
  np.testing.assert_allclose(pair_sum(x), naive, atol=1e-5)


@pytest.mark.parametrize("features", [1, 2, 7])
def test_the_dots_of_pairs(features):
  x = _x(2, 3, features, 5)
  pairs = [(i, j) for i in range(features) for j in range(i)]
  naive = [jnp.sum(x[:, :, i] * x[:, :, j], axis=-1) for i, j in pairs]
  found = pair_dots(x)
  assert found.shape == (2, 3, features * (features - 1) // 2)
  if pairs:
    np.testing.assert_allclose(found, np.stack(naive, -1), atol=1e-5)
  # A factorisation machine's second order is the sum of either.
  np.testing.assert_allclose(
    jnp.sum(found, -1), jnp.sum(pair_sum(x), -1), atol=1e-5
  )


def test_projected_dots():
  x, y = _x(4, 6, 5), _x(6, 3)
  naive = (x @ jnp.swapaxes(x, 1, 2)) @ y
  np.testing.assert_allclose(projected_dots(x, y), naive, rtol=1e-4, atol=1e-5)


def _flops(function, *args):
  cost = jax.jit(function).lower(*args).compile().cost_analysis()
  return cost["flops"]


def test_the_cost_grows_with_features_and_not_with_pairs():
  small, large = _x(64, 16), _x(256, 16)
  assert _flops(pair_sum, large) < 4.5 * _flops(pair_sum, small)
  assert _flops(pair_dots, large) > 15 * _flops(pair_dots, small)
  cost = [
    _flops(projected_dots, x, y)
    for x, y in ((small, _x(64, 8)), (large, _x(256, 8)))
  ]
  assert cost[1] < 4.5 * cost[0]
  # 2 F D K multiplications and additions, twice.
  np.testing.assert_allclose(cost[1], 4 * 256 * 16 * 8, rtol=0.05)
