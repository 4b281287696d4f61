# SPDX-License-Identifier: Apache-2.0
"""Sinkhorn: marginals, the hard limit, masked rows."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from genrec_jax.ops.sinkhorn import sinkhorn, sinkhorn_codes


def _distances(n, c, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.random((n, c)).astype(np.float32) * 7 + 3)


def test_rows_sum_to_one_and_columns_to_equal_shares():
  plan = np.exp(sinkhorn(_distances(12, 5), softness=0.1, rounds=200))
  np.testing.assert_allclose(plan.sum(axis=1), 1.0, atol=1e-4)
  np.testing.assert_allclose(plan.sum(axis=0), 12 / 5, rtol=1e-5)


def test_a_hard_plan_is_the_cheapest_one_to_one_assignment():
  distances = _distances(8, 8)
  codes = sinkhorn_codes(distances, softness=0.003, rounds=2000)
  _, best = linear_sum_assignment(np.asarray(distances))
  np.testing.assert_array_equal(codes, best)


def test_everybodys_favourite_is_shared_out():
  distances = np.array(_distances(40, 4))
  distances[:, 0] -= 5
  codes = sinkhorn_codes(jnp.asarray(distances), softness=0.003, rounds=500)
  assert np.bincount(codes, minlength=4).tolist() == [10, 10, 10, 10]


@pytest.mark.slow
def test_masked_rows_do_not_count():
  distances = _distances(6, 4)
  wild = jnp.concatenate([distances, jnp.full((3, 4), 1e6)])
  where = jnp.arange(9) < 6
  alone = sinkhorn(distances, softness=0.05, rounds=50)
  masked = sinkhorn(wild, softness=0.05, rounds=50, where_N=where)
  np.testing.assert_allclose(masked[:6], alone, atol=1e-3)


def test_equal_distances_give_a_finite_plan():
  plan = sinkhorn(jnp.ones((3, 4)), softness=0.003, rounds=5)
  np.testing.assert_allclose(np.exp(plan), 1 / 4, atol=1e-5)


def test_with_a_capacity_only_wanted_codes_get_dearer():
  distances = jnp.asarray([[0.0, 9, 2, 9], [0.1, 9, 9, 9], [9, 9, 9, 0]])
  plan = sinkhorn(distances, softness=0.02, rounds=300, capacity=1.0)
  assert jnp.argmax(plan, axis=1).tolist() == [2, 0, 3]
  assert np.exp(plan).sum(axis=0).max() <= 1 + 1e-4
