# SPDX-License-Identifier: Apache-2.0
"""Who met an item before: every list against a loop over the whole log."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.dataset.audience import Audience
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.metrics.auc import area
from tests.data.many_users import ACTIONS, FEEDBACK, ManyUsers, random_log

_USERS, _ITEMS, _END = 6, 5, 14
_BOUND = FEEDBACK.bind(ACTIONS)
# What was done at the time, by action: a bit mask of click and like.
_DONE = (0, 0, 1, 2, 3, 0)


def _histories(log):
  return ManyUsers(_USERS, log, _END)


def _told(histories, item, until, *, end=None, wanted=None):
  """(user, mask) of the events of an item before a moment, oldest first."""
  found = []
  for user in range(len(histories)):
    record = histories[user]
    for place in range(len(record["item"])):
      time = int(record["time"][place])
      done = _DONE[record["action"][place]]
      if record["item"][place] != item or time >= until:
        continue
      if (end is not None and time >= end) or (wanted and not done & wanted):
        continue
      found.append((time, user, place, done))
  return [(user + 1, done) for _, user, _, done in sorted(found)]


def _asked(histories):
  """Every event of the log, and some moments at which nothing happened."""
  for user in range(len(histories)):
    yield from zip(
      histories[user]["item"], histories[user]["time"], strict=True
    )
  yield from ((item, 30) for item in range(_ITEMS + 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
  ("options", "rule"),
  [
    ({}, {}),
    ({"live": False}, {"end": _END}),
    ({"wanted": Feedback(("like",))}, {"wanted": 2}),
  ],
)
def test_lists_are_those_of_a_loop(seed, options, rule):
  histories = _histories(random_log(np.random.default_rng(seed)))
  audience = Audience(length=3, **options).bind(histories, _BOUND)
  items, times = map(np.array, zip(*_asked(histories), strict=True))
  users, done = audience.of(items, times)
  lengths = set()
  for n, (item, time) in enumerate(zip(items, times, strict=True)):
    told = _told(histories, item, time, **rule)[-3:]
    told += [(0, 0)] * (3 - len(told))
    assert [*zip(users[n], done[n], strict=True)] == told
    lengths.add(sum(user > 0 for user, _ in told))
  assert lengths == {0, 1, 2, 3}


def test_no_event_is_in_its_own_audience_nor_one_that_comes_later():
  """All that is at the moment or behind it may change: lists do not."""
  rng = np.random.default_rng(0)
  log = random_log(rng)
  for moment in range(0, 20, 3):
    late = log["time"] >= moment
    other = {k: np.where(late, random_log(rng)[k], v) for k, v in log.items()}
    other["time"] = np.where(
      late, rng.integers(moment, 25, len(late)), log["time"]
    )
    for keep in ("newest", "random"):
      audience = Audience(length=2, keep=keep)
      before, after = (
        audience.bind(_histories(x), _BOUND).of(
          np.arange(_ITEMS + 1), np.full(_ITEMS + 1, moment)
        )
        for x in (log, other)
      )
      np.testing.assert_array_equal(before, after)


def test_labels_that_nothing_causes_are_not_told():
  """Clicks before the moment say nothing of a click by lot; with the row's own
  event among them they would."""
  rng = np.random.default_rng(0)
  count = 4000
  log = {
    "user": rng.integers(0, _USERS, count),
    "item": rng.integers(1, 500, count),
    "time": rng.permutation(count),
    "action": 1 + rng.integers(0, 2, count),
  }
  histories = _histories(log)
  audience = Audience(length=8).bind(histories, _BOUND)
  areas = []
  for late in (0, 1):
    _, done = audience.of(log["item"], log["time"] + late)
    areas.append(area(done.sum(axis=1).astype(float), log["action"] == 2))
  # .5 give or take .009.
  assert abs(areas[0] - 0.5) < 0.04 < 0.1 < areas[1] - 0.5


def test_an_item_that_nobody_has_met():
  histories = _histories(random_log(np.random.default_rng(0)))
  audience = Audience(length=2).bind(histories, _BOUND)
  users, done = audience.of(np.array([0, _ITEMS + 1]), np.array([99, 99]))
  assert not users.any() and not done.any()


def test_a_draw_is_one_of_the_whole_list_and_the_same_again():
  histories = _histories(random_log(np.random.default_rng(2)))
  options = Audience(length=3, keep="random", seed=5)
  first, again = (options.bind(histories, _BOUND) for _ in range(2))
  other = dataclasses.replace(options, seed=6).bind(histories, _BOUND)
  items, times = np.arange(1, _ITEMS + 1), np.full(_ITEMS, 30)
  users, done = first.of(items, times)
  np.testing.assert_array_equal((users, done), again.of(items, times))
  assert (users != other.of(items, times)[0]).any()
  for item in items:
    whole = _told(histories, item, 30)
    mine = [*zip(users[item - 1], done[item - 1], strict=True)]
    assert len(whole) > 3
    # In the order of the whole list.
    rest = iter(whole)
    assert all(event in rest for event in mine)


def test_parts_that_overlap_in_time_are_no_audience():
  histories = _histories(random_log(np.random.default_rng(0)))
  histories.split = LeaveOneOut()
  with pytest.raises(ValueError, match="audience.live=True tells training of"):
    Audience().bind(histories, _BOUND)
  found = Audience(live=False).bind(histories, _BOUND)
  ends = [len(histories[u]["item"]) - 2 for u in range(_USERS)]
  assert len(found.index.keys_E) == sum(ends)


def test_data_without_times():
  histories = _histories(random_log(np.random.default_rng(0)))
  del histories[3]["time"]
  with pytest.raises(ValueError, match="no times, and nothing says who"):
    Audience().bind(histories, _BOUND)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"length": 0}, "audience.length=0 must be at least 1"),
    ({"seed": -1}, "audience.seed=-1 must be at least 0"),
    ({"keep": "newst"}, "Did you mean 'newest'"),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    Audience(**options)
