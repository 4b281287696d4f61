# SPDX-License-Identifier: Apache-2.0
"""Percentiles of play times against loops over what was there before."""

import math

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.features import WatchPercentiles

_DURATIONS = [3.0, 5.0, 7.0, 9.0, 20.0, None, 0.0]
_OPTIONS = {"duration": "seconds", "least_events": 3}


class _Split:
  def train_end(self, record):
    return int(record["train_end"])


class _Histories:
  """Users whose events share requests, times and play times now and then."""

  split = _Split()

  def __init__(self, seed=0, num_users=6):
    rng = np.random.default_rng(seed)
    self.records = []
    for user in range(num_users):
      size = int(rng.integers(0, 25)) if user else 30
      value = rng.integers(0, 8, size) / 4
      value[rng.random(size) < 0.15] = np.nan
      self.records.append(
        {
          "user": np.array(user, np.int32),
          "item": rng.integers(1, 8, size).astype(np.int32),
          "value": value.astype(np.float32),
          "time": np.sort(rng.integers(0, 40, size)).astype(np.int32),
          "request": np.cumsum(rng.random(size) < 0.7).astype(np.int32),
          "train_end": np.array(size - size // 4),
        }
      )

  def __len__(self):
    return len(self.records)

  def __getitem__(self, user):
    return self.records[user]


_ITEMS = pl.DataFrame({"seconds": _DURATIONS, "name": [*"abcdefg"]})


def _events(histories, relative):
  """All of them as (user, place, request, time, trains, bucket, watched)."""
  found = []
  for user, record in enumerate(histories.records):
    for i, item in enumerate(record["item"]):
      duration = _DURATIONS[item - 1]
      value = float(record["value"][i])
      bucket = watched = None
      if duration and not math.isnan(value):
        bucket = math.floor(math.log2(duration + 1e-6))
        watched = value * duration if relative else value
      request, time = int(record["request"][i]), int(record["time"][i])
      trains = i < record["train_end"]
      found.append((user, i, request, time, trains, bucket, watched))
  return found


def _share(value, others):
  if not others:
    return 0.5
  below = sum(x < value for x in others) + 0.5 * sum(x == value for x in others)
  return below / len(others)


def _by_hand(histories, relative, least):
  events = _events(histories, relative)
  found = []
  for user, place, request, _, _, bucket, watched in events:
    if watched is None:
      found.append(math.nan)
      continue
    asked = min(
      (e[3], e[1]) for e in events if e[0] == user and e[2] == request
    )
    own = [
      e[6] for e in events
      if e[0] == user and e[1] < asked[1] and e[5] == bucket
    ]  # fmt: skip
    if len(own) < least:
      own = [
        e[6] for e in events if e[4] and e[3] < asked[0] and e[5] == bucket
      ]
    found.append(_share(watched, own))
    assert place >= asked[1]
  return found


@pytest.mark.parametrize("relative", [True, False])
def test_percentiles_are_those_of_loops_over_earlier_events(relative):
  histories = _Histories()
  fitted = WatchPercentiles(relative=relative, **_OPTIONS).fit(
    histories, _ITEMS
  )
  expected = _by_hand(histories, relative, 3)
  found = np.concatenate([fitted.of(u)[0] for u in range(len(histories))])
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  some = found[~np.isnan(found)]
  assert ((some >= 0) & (some <= 1)).all() and len(set(some.tolist())) > 9
  watched = [math.nan if e[6] is None else e[6] for e in _events(
    histories, relative)]  # fmt: skip
  np.testing.assert_allclose(fitted.watched_E, watched, rtol=1e-6)


def test_what_comes_later_says_nothing():
  """Events behind a moment, of all users, drawn anew: q before it stays."""
  one, other = _Histories(), _Histories()
  rng = np.random.default_rng(9)
  moment = 22
  for record in other.records:
    later = record["time"] >= moment
    record["value"][later] = rng.integers(0, 50, later.sum())
    record["item"][later] = rng.integers(1, 6, later.sum())
  fitted = [WatchPercentiles(**_OPTIONS).fit(h, _ITEMS) for h in (one, other)]
  compared = 0
  for user, record in enumerate(one.records):
    before = record["time"] < moment
    a, b = (f.of(user)[0] for f in fitted)
    np.testing.assert_array_equal(a[before], b[before])
    compared += int(before.sum())
    if before.any() and not before.all():
      assert not np.array_equal(a, b, equal_nan=True)
  assert compared > 20


def test_a_first_event_is_in_the_middle_and_ties_share_their_place():
  record = {
    "user": np.array(0, np.int32),
    "item": np.full(5, 1, np.int32),
    "value": np.array([0.5, 0.5, 0.25, 0.5, 1.0], np.float32),
    "time": np.arange(5, dtype=np.int32),
    "train_end": np.array(5),
  }
  histories = _Histories(num_users=1)
  histories.records = [record]
  fitted = WatchPercentiles("seconds", least_events=1).fit(histories, _ITEMS)
  np.testing.assert_allclose(fitted.of(0)[0], [0.5, 0.5, 0, 2 / 3, 1])


def test_what_is_missing_names_itself():
  histories = _Histories()
  for options, message in (
    ({"duration": "second"}, "'second' is no attribute.*Did you mean"),
    ({"duration": "name"}, "'name' must be numbers, and is String"),
  ):
    with pytest.raises(ValueError, match=message):
      WatchPercentiles(**options).fit(histories, _ITEMS)
  for options, message in (
    ({"base": 1.0}, "base=1.0 must be above 1"),
    ({"least_events": 0}, "least_events=0 must be at least 1"),
  ):
    with pytest.raises(ValueError, match=message):
      WatchPercentiles("seconds", **options)
  del histories.records[2]["value"]
  with pytest.raises(ValueError, match="has no values, and percentiles"):
    WatchPercentiles("seconds").fit(histories, _ITEMS)
