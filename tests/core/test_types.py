# SPDX-License-Identifier: Apache-2.0
"""Means merge as sums and counts, and a masked value never counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Mean


def test_merged_means_are_the_mean_of_everything():
  rng = np.random.default_rng(0)
  values, weights = rng.normal(size=12), rng.uniform(size=12)
  parts = [
    Mean.of(jnp.asarray(values[s]), weights=jnp.asarray(weights[s]))
    for s in (slice(0, 3), slice(3, 12))
  ]
  merged = parts[0].merge(parts[1]).compute()
  assert merged == pytest.approx(np.average(values, weights=weights), rel=1e-6)


def test_masked_values_may_be_anything():
  values = jnp.array([1.0, jnp.nan, jnp.inf, 3.0])
  where = jnp.array([True, False, False, True])
  assert Mean.of(values, where=where).compute() == 2.0


def test_nothing_counted_is_zero():
  assert Mean.of(jnp.array([jnp.nan]), where=jnp.array([False])).compute() == 0
