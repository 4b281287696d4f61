# SPDX-License-Identifier: Apache-2.0
"""Statistics of the last hours and days, against counting event by event."""

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.features.moments import Clock, Moments
from genrec_jax.data.features.windows import LoggedEvents, window
from genrec_jax.data.splits import LeaveOneOut, TimeCut

_HOUR = 3600
_FEEDBACK = Feedback(("click", "like")).bind(
  ["", "click", "click|like", "view|later:click", "like|untimed"]
)
_AUTHORS = ["x", "y", "x", None, "y"]
_ITEMS = pl.DataFrame({"author": _AUTHORS})


class _Histories(list):
  """Records of users, of which the last hours are a test part."""

  split = TimeCut(12 * _HOUR, 18 * _HOUR)


def _histories(rng, users=6):
  found = _Histories()
  for user in range(users):
    count = rng.integers(0, 15)
    found.append(
      {
        "user": np.array(user),
        "item": rng.integers(1, 6, count).astype(np.int32),
        # Few moments, so that events often are at one and at a window's edge.
        "time": np.sort(_HOUR * rng.integers(0, 24, count)).astype(np.int32),
        "action": rng.integers(0, 5, count).astype(np.int32),
      }
    )
  return found


@pytest.mark.parametrize("field", ["id.6h", "author.6h", "id.1d.click"])
def test_statistics_are_those_of_a_loop(field):
  name, span, *task = field.split(".")
  values = {"id": [1, 2, 3, 4, 5], "author": _AUTHORS}[name]
  seconds = {"6h": 6 * _HOUR, "1d": 24 * _HOUR}[span]
  for seed in range(4):
    rng = np.random.default_rng(seed)
    histories = _histories(rng)
    events = LoggedEvents.of(histories, _FEEDBACK)
    moments = Moments(
      {"item": np.zeros(0, np.int32), "time": np.zeros(0, np.int32)},
      np.zeros(40, int),
      (_HOUR * rng.integers(-1, 26, 40)).astype(np.int32),
      rng.integers(0, 6, 40).astype(np.int32),
    )
    found = window(field, _ITEMS, 5, events)(moments, Clock(0), _FEEDBACK)
    for n, item in enumerate(moments.items.tolist()):
      value = values[item - 1] if item else None
      there = []
      for record in histories:
        columns = (record[k].tolist() for k in ("item", "time", "action"))
        for other, time, action in zip(*columns, strict=True):
          inside = moments.times[n] - seconds <= time < moments.times[n]
          if inside and action != 4 and values[other - 1] == value:
            # A click that came later was not known.
            there.append(action in (1, 2))
      expected = np.mean(there) if there and task else np.nan
      if not task:
        expected = float(len(there))
      if value is None:
        expected = np.nan
      np.testing.assert_allclose(found[n], expected, err_msg=f"{seed} {n}")


def test_what_comes_at_a_moment_or_later_changes_nothing():
  rng = np.random.default_rng(7)
  histories, now = _histories(rng), 15 * _HOUR
  changed = _Histories(
    {
      **record,
      "item": np.where(record["time"] >= now, 1, record["item"]),
      "action": np.where(record["time"] >= now, 2, record["action"]),
    }
    for record in histories
  )
  moments = Moments(
    {"item": np.zeros(0, np.int32), "time": np.zeros(0, np.int32)},
    np.zeros(5, int),
    np.full(5, now, np.int32),
    np.arange(1, 6, dtype=np.int32),
  )
  found = []
  for log in (histories, changed):
    value = window("id.1d.click", _ITEMS, 5, LoggedEvents.of(log, _FEEDBACK))
    found.append(value(moments, Clock(0), _FEEDBACK))
  np.testing.assert_array_equal(*found)
  # Behind the training part, whose end is at hour 12, time goes on.
  assert any((r["time"] >= 12 * _HOUR).any() for r in histories)
  assert np.isfinite(found[0]).any()


def test_behind_a_frozen_history_nothing_since_is_known():
  rng = np.random.default_rng(3)
  events = LoggedEvents.of(_histories(rng), _FEEDBACK)
  record = {"item": np.zeros(1, np.int32), "time": np.zeros(1, np.int32)}
  items = np.arange(1, 6, dtype=np.int32)
  frozen = Moments.after(record, 20 * _HOUR, items, 12 * _HOUR)
  then, now = (Moments.after(record, h * _HOUR, items) for h in (12, 20))
  for field in ("id.6h", "id.1d.click"):
    value = window(field, _ITEMS, 5, events)
    found, early, late = (
      value(moments, Clock(0), _FEEDBACK) for moments in (frozen, then, now)
    )
    np.testing.assert_array_equal(found, early)
    assert (found != late).any()


def test_parts_that_overlap_in_time_are_refused():
  histories = _histories(np.random.default_rng(0))
  histories.split = LeaveOneOut()
  with pytest.raises(ValueError, match="window.* tell training of other users"):
    LoggedEvents.of(histories, _FEEDBACK)


@pytest.mark.parametrize(
  ("field", "message"),
  [
    ("id", "must be window.ATTRIBUTE.SPAN"),
    ("id.0d", "must be window.ATTRIBUTE.SPAN"),
    ("id.7w", "must be window.ATTRIBUTE.SPAN"),
    ("autor.7d", "no attribute of items 'autor'.* Did you mean 'author'"),
    ("id.7d.clck", "no task 'clck'.* Did you mean 'click'"),
  ],
)
def test_names_that_mean_nothing(field, message):
  events = LoggedEvents.of(_histories(np.random.default_rng(0)), _FEEDBACK)
  with pytest.raises(ValueError, match=message):
    window(field, _ITEMS, 5, events)
