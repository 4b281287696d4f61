# SPDX-License-Identifier: Apache-2.0
"""Novelty and popularity of lists, and the training counts under them."""

import collections
import itertools

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.metrics import novelty
from genrec_jax.metrics.item_counts import ItemCounts
from genrec_jax.metrics.lists import first_places

_V = 6
_histories = st.lists(st.lists(st.integers(1, _V), max_size=5), max_size=8)


def _counts(histories, num_items=_V):
  return ItemCounts.from_batch(
    [np.array(h, np.int64) for h in histories], num_items
  )


@settings(max_examples=200, deadline=None)
@given(histories=_histories, cut=st.integers(0, 8))
def test_counts_are_of_events_and_of_users_however_batched(histories, cut):
  events = collections.Counter(i for h in histories for i in h)
  users = collections.Counter(i for h in histories for i in set(h))
  got = _counts(histories[:cut]).merge(_counts(histories[cut:]))
  got = ItemCounts.empty(_V).merge(got)
  assert got.events_V1.tolist() == [events[i] for i in range(_V + 1)]
  assert got.users_V1.tolist() == [users[i] for i in range(_V + 1)]
  assert got.num_users == sum(map(bool, histories))


def test_ranks_are_dense_and_cold_items_have_none():
  counts = _counts([[1, 1, 1, 2, 3, 4, 4, 4]])
  assert counts.ranks().tolist() == [0, 1, 2, 2, 1, 0, 0]
  # Ranks do not move when no item is cold.
  assert _counts([[1, 1, 2]], 2).ranks().tolist() == [0, 1, 2]


@settings(max_examples=200, deadline=None)
@given(histories=_histories)
def test_head_is_the_fewest_items_with_80_percent(histories):
  counts = _counts(histories)
  events, total = counts.events_V1, counts.events_V1.sum()
  head = counts.head()
  if not total:
    assert not head.any()
    return
  best_of = [np.sort(events)[::-1][:n].sum() for n in range(_V + 1)]
  fewest = next(n for n, held in enumerate(best_of) if 5 * held >= 4 * total)
  assert head.sum() == fewest
  assert events[head].sum() == best_of[fewest]


def test_a_head_that_meets_its_bound_ends_there():
  assert _counts([[1] * 6 + [2] * 2 + [3, 4]]).head().tolist() == (
    [False, True, True, False, False, False, False]
  )


def test_rectools_documented_values():
  lists = np.array([[3, 0, 0], [2, 3, 0], [1, 2, 0]])
  counts = _counts([[1, 2], [1], [1]], 3)
  for k, expected in (
    (1, [1.5849625, 1.5849625, 0]),
    (3, [1.5849625, 1.5849625, 0.79248125]),
  ):
    got = novelty.inverse_user_frequency(
      first_places(lists, k, 3), counts.users_V1, counts.num_users
    )
    assert got == pytest.approx(expected)
  lists = np.array([[1, 2, 0], [3, 1, 2], [3, 2, 0]])
  events = _counts([[1, 2], [1, 3], [1, 2]], 3).events_V1
  for k, expected in ((1, [3, 1, 1]), (3, [2.5, 2, 1.5])):
    got = novelty.average_popularity(first_places(lists, k, 3), events)
    assert got.tolist() == expected


def test_the_popular_list_is_the_least_novel_of_all():
  counts = _counts([[1, 2, 3, 4], [1, 2, 3], [1, 2], [1], [5]])
  lists = np.array(list(itertools.permutations(range(1, _V + 1), 3)))
  arp = novelty.average_popularity(lists, counts.events_V1)
  miuf = novelty.inverse_user_frequency(
    lists, counts.users_V1, counts.num_users
  )
  popular = (np.sort(lists, axis=1) == [1, 2, 3]).all(axis=1)
  assert arp[popular].min() > arp[~popular].max()
  assert miuf[popular].max() < miuf[~popular].min()
  # Nor has the order a say: lists of one set are one value.
  assert len(np.unique(arp[popular])) == 1
  assert np.ptp(miuf[popular]) < 1e-12


def test_cold_items_have_one_user_and_no_event():
  counts = _counts([[1], [1], [2], [1]])
  cold, single = np.array([[6]]), np.array([[2]])
  miuf = [
    novelty.inverse_user_frequency(x, counts.users_V1, counts.num_users)[0]
    for x in (cold, single)
  ]
  assert miuf == [2.0, 2.0]
  assert novelty.average_popularity(cold, counts.events_V1)[0] == 0


def test_lift_is_relative_to_the_users_own_history():
  events = np.array([0, 8, 2, 0, 0, 0, 0])
  histories = [np.array(h, np.int64) for h in ([1, 1, 2], [2], [], [3])]
  before = novelty.history_popularity(histories, events)
  np.testing.assert_allclose(before, [6, 2, np.nan, 0])
  lists = np.array([[1, 2, 1], [1, 0, 0], [1, 2, 0], [1, 2, 0]])
  after = novelty.average_popularity(lists, events)
  lift = novelty.popularity_lift(after, before)
  # As popular as before; 8 after 2; no history; a history of cold items.
  np.testing.assert_allclose(lift, [0, 3, np.nan, np.nan])


def test_tail_share():
  head = np.array([False, True, True, False, False])
  lists = np.array([[1, 3, 4, 2], [1, 0, 0, 0], [0, 0, 0, 0]])
  got = novelty.tail_share(lists, head)
  np.testing.assert_allclose(got, [0.5, 0, np.nan])


def test_counts_that_cannot_be():
  with pytest.raises(ValueError, match=r"items 0\.\.2"):
    _counts([[0, 2]])
  with pytest.raises(ValueError, match="row 0 is padding"):
    ItemCounts(np.array([1, 1]), np.array([0, 1]), 1)
  with pytest.raises(ValueError, match="must both have one row"):
    ItemCounts(np.zeros(1, np.int64), np.zeros(1, np.int64), 1)
  with pytest.raises(ValueError, match="of 2 and 3 items"):
    ItemCounts.empty(2).merge(ItemCounts.empty(3))
  with pytest.raises(ValueError, match="percent=100"):
    ItemCounts.empty(2).head(100)
  with pytest.raises(ValueError, match="num_users=0"):
    novelty.inverse_user_frequency(np.array([[1]]), np.array([0, 0]), 0)
