# SPDX-License-Identifier: Apache-2.0
"""Parts of equal size: exactly equal, and the cheapest such partition."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from genrec_jax.ops.equal_parts import equal_parts


def _costs(seed, count, parts):
  rng = np.random.default_rng(seed)
  # Skewed: most rows want the same few parts.
  return rng.random((count, parts)) + 2 * rng.random(parts)[None]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 40))
def test_sizes_differ_by_at_most_1(seed, parts, more):
  codes = equal_parts(_costs(seed, parts + more, parts))
  sizes = np.bincount(codes, minlength=parts)
  assert sizes.sum() == parts + more and np.ptp(sizes) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 12))
def test_no_partition_into_parts_of_one_size_is_cheaper(seed, parts, size):
  costs = _costs(seed, parts * size, parts)
  codes = equal_parts(costs)
  found = costs[np.arange(len(codes)), codes].sum()
  rows, columns = linear_sum_assignment(np.repeat(costs, size, axis=1))
  best = np.repeat(costs, size, axis=1)[rows, columns].sum()
  np.testing.assert_allclose(found, best, rtol=1e-9)


def test_rows_that_are_all_alike_are_parted_too():
  sizes = np.bincount(equal_parts(np.ones((11, 4))))
  assert sorted(sizes) == [2, 3, 3, 3]


def test_costs_that_cannot_be_met_are_refused():
  with pytest.raises(ValueError, match="2 rows cannot fill 3 parts"):
    equal_parts(np.zeros((2, 3)))
  with pytest.raises(ValueError, match="not finite"):
    equal_parts(np.full((3, 2), np.nan))
