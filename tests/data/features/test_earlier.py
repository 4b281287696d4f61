# SPDX-License-Identifier: Apache-2.0
"""Counts of earlier events against a loop over all pairs."""

import numpy as np
import pytest

from genrec_jax.data.features.earlier import earlier_counts


def _by_hand(group, at, asked, value, counted):
  found = np.zeros((3, len(group)), np.int64)
  for e in range(len(group)):
    for j in range(len(group)):
      if counted[j] and group[j] == group[e] and at[j] < asked[e]:
        found[0, e] += value[j] < value[e]
        found[1, e] += value[j] == value[e]
        found[2, e] += 1
  return found


@pytest.mark.parametrize("moments", [1, 2, 9, 200])
def test_counts_are_those_of_a_loop_over_pairs(moments):
  rng = np.random.default_rng(moments)
  size = 90
  group = rng.integers(-2, 3, size) * 10**9
  at = rng.integers(0, moments, size) - 5
  # What asks at another moment than its own: earlier for most.
  asked = at - rng.integers(0, 3, size)
  value = rng.integers(0, 6, size) / 4
  counted = rng.random(size) < 0.8
  found = earlier_counts(group, at, asked, value, counted)
  np.testing.assert_array_equal(
    np.stack(found), _by_hand(group, at, asked, value, counted)
  )
  assert found.count_E.any() == (moments > 1)


def test_nothing_is_compared_with_nothing():
  none = np.zeros(0, np.int64)
  found = earlier_counts(none, none, none, none / 1.0, none > 0)
  assert [len(x) for x in found] == [0, 0, 0]
