# SPDX-License-Identifier: Apache-2.0
"""Serendipity: RecTools' documented values, and who cannot have any."""

import numpy as np
import pytest

from genrec_jax.metrics.item_counts import ItemCounts
from genrec_jax.metrics.lists import first_places
from genrec_jax.metrics.serendipity import serendipity


def test_rectools_documented_values():
  lists = np.array([[1, 2], [2, 3], [3, 0], [2, 3]])
  relevant = np.array([[True, True], [True, True], [False] * 2, [True, False]])
  train = [np.array(h) for h in ([1, 2], [1, 2], [1])]
  ranks = ItemCounts.from_batch(train, 4).ranks()
  for k, expected in ((1, [0, 0.25, 0, 0.25]), (2, [0, 0.5, 0, 0.125])):
    got = serendipity(first_places(lists, k, 4), relevant[:, :k], ranks)
    assert got == pytest.approx(expected)


def test_the_order_of_popularity_has_none():
  """A list in the order of popularity places no item above its own rank."""
  ranks = np.array([0, 1, 2, 3, 4, 5])
  lists = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
  got = serendipity(lists, np.ones((2, 5), bool), ranks)
  assert got[0] == 0
  assert got[1] == pytest.approx((4 / 5 + 2 / 5) / 5)


def test_a_cold_item_counts_with_its_whole_place():
  ranks = np.array([0, 1, 0, 0, 2])
  lists = np.array([[0, 3, 0, 0], [0, 0, 0, 0]])
  got = serendipity(lists, lists > 0, ranks)
  assert got[0] == 0.75 and np.isnan(got[1])
