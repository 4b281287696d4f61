# SPDX-License-Identifier: Apache-2.0
"""Duplicates and rare users and items, against slow and obvious versions."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from genrec_jax.data.prepare import events as events_lib, filters

SMALL = st.integers(0, 3)


def _events(rows, **columns):
  rows = np.array(rows, np.int64).reshape(-1, 3)
  return events_lib.Events(
    user=rows[:, 0].astype(np.int32),
    microseconds=rows[:, 1],
    item=rows[:, 2].astype(np.int32),
    order=None,
    action=columns.get("action"),
    value=columns.get("value"),
    request=None,
    user_ids=[],
    item_ids=[],
    actions=[],
  )


@given(st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL), max_size=30))
def test_duplicates_are_the_copies_after_the_first(rows):
  rows = sorted(rows, key=lambda row: row[:2])
  action = np.array([row[3] for row in rows], np.int32)
  marked = filters.duplicates(_events([row[:3] for row in rows], action=action))
  seen, expected = set(), []
  for row in rows:
    expected.append(row in seen)
    seen.add(row)
  assert marked.tolist() == expected


def test_missing_values_are_equal_and_other_values_are_not():
  value = np.array([np.nan, np.nan, 1, 2], np.float32)
  log = _events([(0, 5, 1)] * 4, value=value)
  assert filters.duplicates(log).tolist() == [False, True, False, False]


def test_without_times_nothing_is_a_duplicate():
  log = _events([(0, 5, 1)] * 3)
  log.microseconds = None
  assert not filters.duplicates(log).any()


@given(
  st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=40),
  st.integers(1, 4),
  st.integers(1, 4),
  st.booleans(),
)
def test_rare_users_and_items_leave(rows, min_user, min_item, iterate):
  user, item = np.array(rows, np.int32).T
  keep, dropped = filters.frequent(
    user,
    item,
    min_user_events=min_user,
    min_item_events=min_item,
    iterate=iterate,
  )
  left = list(range(len(rows)))
  while True:
    users = [rows[i][0] for i in left]
    items = [rows[i][1] for i in left]
    enough = [
      i
      for i in left
      if users.count(rows[i][0]) >= min_user
      and items.count(rows[i][1]) >= min_item
    ]
    changed, left = len(enough) < len(left), enough
    if not (iterate and changed):
      break
  assert np.flatnonzero(keep).tolist() == left
  assert len(left) + sum(dropped.values()) == len(rows)
  assert all(count > 0 for count in dropped.values())


def test_minima_below_one_are_refused():
  one = np.zeros(1, np.int32)
  with pytest.raises(ValueError, match="min_item_events must be at least 1"):
    filters.frequent(
      one, one, min_user_events=1, min_item_events=0, iterate=True
    )


_LOGS = st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=40)


@given(_LOGS, st.integers(1, 4))
def test_the_last_events_of_every_user_stay(rows, last_events):
  user = np.sort(np.array(rows, np.int32)[:, 0])
  keep, dropped = filters.recent(user, last_events)
  for u in np.unique(user):
    mine = keep[user == u]
    kept = min(len(mine), last_events)
    assert mine[len(mine) - kept :].all() and mine.sum() == kept
  assert sum(dropped.values()) == (~keep).sum()


@given(_LOGS, st.floats(0, 0.99), SMALL)
def test_held_out_items_keep_nothing_but_last_events(rows, share, seed):
  rows = np.array(sorted(rows, key=lambda row: row[0]), np.int32)
  user, item = rows.T
  last = np.r_[user[1:] != user[:-1], True]
  keep, dropped = filters.without_held_out(user, item, share, seed)
  assert sum(dropped.values()) == (~keep).sum()
  held = np.unique(item[~keep])
  assert np.isin(held, item[last]).all()
  assert len(held) <= round(share * len(np.unique(item[last])))
  # What is left of such an item is the test target of somebody who has three
  # events: nothing trains on it.
  left = np.isin(item, held) & keep
  assert (last | ~left).all()
  assert (np.bincount(user[keep], minlength=9)[user[left]] >= 3).all()
  again, _ = filters.without_held_out(user, item, share, seed)
  np.testing.assert_array_equal(keep, again)


def test_shares_and_numbers_outside_their_range_are_errors():
  user = np.zeros(3, np.int32)
  with pytest.raises(ValueError, match="hold_out_items must lie in"):
    filters.without_held_out(user, user, 1.0, 0)
  with pytest.raises(ValueError, match="last_events must be at least 1, got 0"):
    filters.recent(user, 0)
