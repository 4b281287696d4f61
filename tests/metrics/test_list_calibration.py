# SPDX-License-Identifier: Apache-2.0
"""Calibration of categories against Steck's formulas, written as loops."""

import math

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.metrics.list_calibration import (
  category_matrix,
  history_shares,
  list_shares,
  miscalibration,
)

_SETS = [set(), {"a"}, {"b"}, {"a", "b"}, {"c"}, set()]  # of items 0..5
_NAMES, _CATEGORIES = category_matrix([sorted(s) for s in _SETS[1:]])
_items = st.lists(st.integers(1, 5), max_size=6)


def _shares_by_hand(items):
  sets = [_SETS[i] for i in items if _SETS[i]]
  return [
    sum((name in s) / len(s) for s in sets) / len(sets) if sets else 0.0
    for name in _NAMES
  ]


@settings(max_examples=200, deadline=None)
@given(history=_items, shown=_items)
def test_as_the_formulas_say(history, shown):
  p = history_shares([np.array(history, np.int64)], _CATEGORIES)
  padded = np.array([shown + [0] * (6 - len(shown))])
  q = list_shares(padded, _CATEGORIES)
  p_hand, q_hand = _shares_by_hand(history), _shares_by_hand(shown)
  np.testing.assert_allclose(p[0], p_hand)
  np.testing.assert_allclose(q[0], q_hand)
  got = miscalibration(p, q)[0]
  if not any(p_hand) or not any(q_hand):
    assert np.isnan(got)
    return
  expected = sum(
    a * math.log(a / (0.99 * b + 0.01 * a))
    for a, b in zip(p_hand, q_hand, strict=True)
    if a
  )
  assert got == pytest.approx(expected, abs=1e-12)
  # 0 where, and only where, the list has the history's shares.
  assert (got < 1e-12) == (np.abs(p - q).max() < 1e-12)


def test_nothing_in_common_is_the_bound():
  p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
  assert miscalibration(p, q)[0] == pytest.approx(math.log(100))
  assert miscalibration(p, q, 0.5)[0] == pytest.approx(math.log(2))
  with pytest.raises(ValueError, match="smoothing=0"):
    miscalibration(p, q, 0.0)


def test_weights_of_places():
  weights = np.array([3.0, 1.0])
  got = list_shares(np.array([[1, 2], [1, 5], [0, 2]]), _CATEGORIES, weights)
  assert got.tolist() == [[0.75, 0.25, 0], [1, 0, 0], [0, 1, 0]]


def test_categories_come_as_one_as_many_or_not_at_all():
  values = ["Drama", ["Drama", "Action", "Drama"], None, "", [None, ""], 7]
  names, matrix = category_matrix(values)
  assert names == ["7", "Action", "Drama"]
  assert matrix.tolist() == [
    [0, 0, 0],
    [0, 0, 1],
    [0, 1, 1],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [1, 0, 0],
  ]
