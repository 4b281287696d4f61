# SPDX-License-Identifier: Apache-2.0
"""Cutting lists, and places that repeat an earlier one."""

import numpy as np
import pytest

from genrec_jax.metrics import lists


def test_first_places_keep_their_place():
  given = np.array([[3, -1, 2, 9], [0, 5, -1, -1]])
  assert lists.first_places(given, 3, 9).tolist() == [[3, 0, 2], [0, 5, 0]]
  # A catalogue of 4 has no fifth place: it counts as empty.
  short = lists.first_places(np.array([[1, 2, 3, 4]]), 5, 4)
  assert short.tolist() == [[1, 2, 3, 4, 0]]
  assert lists.filled_share(short).tolist() == [0.8]


def test_lists_that_cannot_be_measured():
  given = np.array([[1, 2], [3, 7]])
  with pytest.raises(ValueError, match="fetch 3 places"):
    lists.first_places(given, 3, 9)
  with pytest.raises(ValueError, match="list 1 holds item 7"):
    lists.first_places(given, 1, 6)
  with pytest.raises(ValueError, match="k=0"):
    lists.first_places(given, 0, 9)


def test_repeats_are_later_places_of_a_filled_one():
  given = np.array([[4, 0, 4, 0, 2, 4], [1, 2, 3, 5, 6, -1]])
  assert lists.repeats(given).tolist() == [
    [False, False, True, False, False, True],
    [False] * 6,
  ]
  assert lists.unrepeated_share(given).tolist() == [0.5, 1.0]


def test_a_list_without_items_has_no_mean():
  got = lists.mean_of_places(np.ones((2, 2)), np.array([[True, False]] * 2))
  assert got.tolist() == [1.0, 1.0]
  assert np.isnan(lists.unrepeated_share(np.array([[0, -1]]))).all()
