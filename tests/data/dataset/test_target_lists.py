# SPDX-License-Identifier: Apache-2.0
"""Lists of baskets and of next items, by a loop over events; parts of users."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.target_lists import (
  Baskets,
  NextItems,
  TrainingLists,
  lists_of_part,
)
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.splits import TimeCut

_ACTIONS = ("", "skip", "long_view", "long_view|like", "untimed|long_view")
_WANTED = Feedback(("long_view",))
# Validation from 30, test from 40; of a moment the first alone is asked.
_SPLIT = TimeCut(30, 40, once_a_moment=True)


def _record(user):
  """Random events: some of one time and request, items often again."""
  rng = np.random.default_rng(user)
  count = int(rng.integers(1, 60))
  request = np.sort(rng.integers(0, 25, count)).astype(np.int32)
  # Some requests share their time with the one before.
  time = (request // 2 * 4).astype(np.int32)
  return {
    "user": np.array(user, np.int32),
    "item": rng.integers(1, 12, count).astype(np.int32),
    "time": time,
    "request": request,
    "action": rng.integers(1, len(_ACTIONS), count).astype(np.int32),
  }


class _Histories:
  split = _SPLIT

  def __len__(self):
    return 40

  def __getitem__(self, user):
    return _record(user)


_NAMES = {"none": None, "wanted": _WANTED}


def _by_hand(record, low, high, kind, size, wanted):
  """(history, items, repeats) of lists with times in [low, high)."""
  events = list(
    zip(
      *(record[n].tolist() for n in ("item", "time", "request", "action")),
      strict=True,
    )
  )
  kept = [
    (item, time, request)
    for item, time, request, action in events
    if low <= time < high and (not wanted or action in (2, 3))
  ]
  groups = []
  for item, time, request in kept:
    if kind is Baskets:
      new = not groups or groups[-1][-1][2] != request
    else:
      new = not groups or len({i for i, *_ in groups[-1]}) == size
    if new:
      groups.append([])
    groups[-1].append((item, time, request))
  for group in groups:
    items = list(dict.fromkeys(i for i, *_ in group))
    history = [
      i
      for i, time, _, action in events
      if time < group[0][1] and (not wanted or action > 1)
    ]
    yield history, items, len(group) - len(items)


@pytest.mark.parametrize("kind", [Baskets, NextItems])
@pytest.mark.parametrize("name", _NAMES)
def test_lists_are_those_of_a_loop_and_know_nothing_of_their_moment(kind, name):
  feedback = _NAMES[name]
  rule = kind(size=3, least=2, wanted=feedback)
  wanted = None if feedback is None else feedback.bind(_ACTIONS)
  histories = _Histories()
  found = TrainingLists.of(histories, rule, wanted)
  rows, counts = [], dict.fromkeys(found.counts, 0)
  for user in range(len(histories)):
    record = _record(user)
    for history, items, repeats in _by_hand(
      record, 0, 30, kind, 3, feedback is not None
    ):
      if len(items) < 2:
        counts["too short"] += 1
      elif not history:
        counts["without a history"] += 1
      else:
        counts["repeated items"] += repeats
        rows.append((user, history, (items[:3] + [0])[:3]))
  assert len(rows) > 50 and min(counts.values()) > 0
  assert found.counts == counts and len(found) == len(rows)
  for n, (user, history, items) in enumerate(rows):
    assert found.user_N[n] == user and found.items_NJ[n].tolist() == items
    record = _record(user)
    end = found.end_N[n]
    seen = np.ones(end, bool)
    if feedback is not None:
      seen = record["action"][:end] > 1
    assert record["item"][:end][seen].tolist() == history
    assert record["time"][end] == found.moment_N[n]
  for part, low, high in (("validation", 30, 40), ("test", 40, 999)):
    lists = [
      (int(r["user"]), int(x.end), x.items.tolist())
      for r, x in lists_of_part(histories, part, rule, wanted)
    ]
    wanted_lists = []
    for user in range(len(histories)):
      record = _record(user)
      for _, items, _ in _by_hand(
        record, low, high, kind, 3, feedback is not None
      ):
        if len(items) >= 2:
          wanted_lists.append((user, items))
    assert len(lists) > 5
    assert [(u, items) for u, _, items in lists] == wanted_lists
    for user, end, _ in lists:
      time = _record(user)["time"]
      assert (time[:end] < time[end]).all() and low <= time[end] < high


def test_what_the_split_skips_is_in_no_list():
  histories = _Histories()
  histories.split = dataclasses.replace(_SPLIT, skipped_actions=(1, 4))
  rule = Baskets(size=2, least=1)
  for part, low, high in (("validation", 30, 40), ("test", 40, 999)):
    lists, skipped = {}, 0
    for user in range(len(histories)):
      events = zip(
        *(_record(user)[n].tolist() for n in ("item", "time", "request")),
        _record(user)["action"].tolist(),
        strict=True,
      )
      for item, time, request, action in events:
        if low <= time < high and action in (1, 4):
          skipped += 1
        elif low <= time < high:
          lists.setdefault((user, request), []).append(item)
    found = [
      (int(record["user"]), one.items.tolist())
      for record, one in lists_of_part(histories, part, rule, None)
    ]
    assert skipped > 5 and len(found) > 5
    assert found == [(u, [*dict.fromkeys(x)]) for (u, _), x in lists.items()]


def test_a_repeated_item_is_refused_where_that_is_asked_for():
  rule = Baskets(size=2, repeats="refuse")
  record = _record(0)
  record["item"][:] = 4
  with pytest.raises(ValueError, match="of user number 0 has .* items again"):
    rule.of(record, np.arange(len(record["item"])), None)
  same = dataclasses.replace(rule, repeats="drop")
  lists = same.of(record, np.arange(len(record["item"])), None)
  assert {tuple(x.items) for x in lists} == {(4,)}


def test_options_and_data_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match="lists.least=6 is more than size=5"):
    Baskets(least=6)
  with pytest.raises(ValueError, match="repeats='keep' must be"):
    NextItems(repeats="keep")
  record = {k: v for k, v in _record(0).items() if k != "request"}
  with pytest.raises(ValueError, match="the data set has none: map a request"):
    Baskets().of(record, np.arange(2), None)
  with pytest.raises(ValueError, match="users.part=2 is none of 2 parts"):
    UserPart(2)


def test_parts_of_users_are_apart_even_and_all():
  users = np.arange(30_000)
  shares = np.stack([UserPart(p, 3).among(users) for p in range(3)])
  np.testing.assert_array_equal(shares.sum(axis=0), 1)
  assert np.abs(shares.mean(axis=1) - 1 / 3).max() < 0.01
  # Whoever is next to whom: halves of neighbours are independent.
  assert abs(np.mean(shares[0, 1:] & shares[0, :-1]) - 1 / 9) < 0.01
  assert UserPart(1, 3).has(7) == shares[1, 7]
  assert (UserPart(0, 3, seed=1).among(users) != shares[0]).mean() > 0.3
