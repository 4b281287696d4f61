# SPDX-License-Identifier: Apache-2.0
"""Popularity and age at a moment, against counting event by event."""

import datetime

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.features.age import age
from genrec_jax.data.features.encoders import Percentiles
from genrec_jax.data.features.moments import Clock, Moments
from genrec_jax.data.features.recent import recent

_DAY = 86_400
_FEEDBACK = Feedback(("click",)).bind(["", "click"])
_AUTHORS = ["x", "y", "x", None, "y"]
_ITEMS = pl.DataFrame({"author": _AUTHORS})
_EPOCH = 1_600_000_000
_CLOCK = Clock(_EPOCH, utc_offset_hours=8.0)


def _moments(rng, count=40, until=20 * _DAY):
  record = {"item": np.zeros(0, np.int32), "time": np.zeros(0, np.int32)}
  return Moments(
    record,
    np.zeros(count, int),
    rng.integers(-_DAY, until, count).astype(np.int32),
    rng.integers(0, 6, count).astype(np.int32),
  )


def _log(rng, count=60):
  # Few moments, so that events often are at one and at a window's edges.
  times = rng.integers(0, 12, count) * _DAY
  return times.astype(np.int32), rng.integers(1, 6, count).astype(np.int32)


@pytest.mark.parametrize("name", ["id", "author"])
def test_counts_are_those_of_the_days_before(name):
  values = {"id": [1, 2, 3, 4, 5], "author": _AUTHORS}[name]
  for seed in range(5):
    rng = np.random.default_rng(seed)
    times, items = _log(rng)
    moments = _moments(rng)
    moments.times[:20] = _DAY * rng.integers(0, 15, 20)
    count = recent(f"{name}.3", _ITEMS, 5, times, items)
    found = count(moments, _CLOCK, _FEEDBACK)
    end = max(times) + 1
    for n in range(len(found)):
      item = moments.items[n]
      value = values[item - 1] if item else None
      if value is None:
        assert np.isnan(found[n])
        continue
      until = min(int(moments.times[n]), end)
      assert found[n] == sum(
        values[i - 1] == value and until - 3 * _DAY <= t < until
        for t, i in zip(times.tolist(), items.tolist(), strict=True)
      )


def test_events_to_come_change_nothing():
  """Neither popularity nor age before day 6 knows of events from day 6 on."""
  rng = np.random.default_rng(0)
  times, items = _log(rng)
  moments = _moments(rng, until=6 * _DAY)
  moments.times[:20] = 6 * _DAY
  late = times >= 6 * _DAY
  assert 10 < late.sum() < 50
  other = np.where(late, rng.integers(1, 6, len(items)), items).astype(np.int32)
  for make, field in ((recent, "id.2"), (recent, "author.9"), (age, "id")):
    before, after = (
      make(field, _ITEMS, 5, times, found)(moments, _CLOCK, _FEEDBACK)
      for found in (items, other)
    )
    np.testing.assert_array_equal(before, after)


def test_ages_since_the_first_event():
  rng = np.random.default_rng(1)
  times, items = _log(rng, 9)
  moments = _moments(rng)
  moments.times[:20] = times[rng.integers(0, 9, 20)]
  found = age("id", _ITEMS, 5, times, items)(moments, _CLOCK, _FEEDBACK)
  for n in range(len(found)):
    now, item = int(moments.times[n]), moments.items[n]
    before = [t for t, i in zip(times, items, strict=True) if i == item]
    if not before or min(before) >= now:
      assert np.isnan(found[n])
    else:
      assert found[n] == now - min(before)


@pytest.mark.parametrize("kind", ["date", "text", "seconds", "milliseconds"])
def test_ages_since_a_date(kind):
  days = [datetime.date(2020, 9, d) for d in (1, 13, 14, 30)]
  made = {
    "date": [*days, None],
    "text": [*map(str, days), ""],
    "seconds": [18_506 * _DAY + 86_400 * (d.day - 1) for d in days] + [None],
  }
  made["milliseconds"] = [t and t * 1000 for t in made["seconds"]]
  born = pl.DataFrame({"born": made[kind]})
  nothing = np.zeros(0, np.int32)
  moments = _moments(np.random.default_rng(2))
  found = age("born", born, 5, nothing, nothing)(moments, _CLOCK, _FEEDBACK)
  for n in range(len(found)):
    item = moments.items[n]
    if item in (0, 5):
      assert np.isnan(found[n])
      continue
    # What the clock on the wall showed, eight hours ahead.
    seconds = _EPOCH + int(moments.times[n]) + 8 * 3600
    now = datetime.datetime(1970, 1, 1) + datetime.timedelta(0, seconds)
    then = datetime.datetime.combine(days[item - 1], datetime.time())
    assert found[n] == (now - then).total_seconds()


def test_without_times_nothing_is_known():
  nothing = np.zeros(0, np.int32)
  moments = Moments({}, np.zeros(2, int), None, np.array([1, 2]))
  born = pl.DataFrame({"born": ["2020-01-01", "2020-01-02"]})
  for function in (
    recent("id.7", born, 2, nothing, nothing),
    age("id", born, 2, nothing, nothing),
    age("born", born, 2, nothing, nothing),
  ):
    assert np.isnan(function(moments, _CLOCK, _FEEDBACK)).all()


def test_what_is_not_there_is_named():
  nothing = np.zeros(0, np.int32)
  for field in ("id", "author", "author.0", "author.1.5", ".7"):
    with pytest.raises(ValueError, match="ATTRIBUTE.DAYS|no attribute"):
      recent(field, _ITEMS, 5, nothing, nothing)
  with pytest.raises(ValueError, match="no attribute 'autor'.*author"):
    recent("autor.7", _ITEMS, 5, nothing, nothing)
  with pytest.raises(ValueError, match="no attribute 'autor'.*author"):
    age("autor", _ITEMS, 5, nothing, nothing)
  with pytest.raises(ValueError, match="items have 'x' there, which is no"):
    age("author", _ITEMS, 5, nothing, nothing)
  with pytest.raises(ValueError, match="look like dates"):
    age("a", pl.DataFrame({"a": [20200901, 20200902]}), 2, nothing, nothing)
  with pytest.raises(ValueError, match="feature age.a: .*the type"):
    age("a", pl.DataFrame({"a": [True, False]}), 2, nothing, nothing)


def test_percentiles_of_counts_at_a_moment_by_numpy():
  """Edges of inverted quantiles, counts by a loop, and nothing from later."""
  rng = np.random.default_rng(3)
  times, items = _log(rng, 300)
  moments = _moments(rng, 200)
  counts = np.array(
    [
      np.sum((items == i) & (t - 3 * _DAY <= times) & (times < t))
      for t, i in zip(
        np.minimum(moments.times, max(times) + 1), moments.items, strict=True
      )
    ],
    float,
  )
  known = moments.items > 0
  often, times_met = np.unique(counts[known], return_counts=True)
  heavy = often[times_met.argmax()]
  if times_met.max() * 5 <= known.sum():
    heavy = np.nan
  rest = np.sort(counts[known & (counts != heavy)])
  edges = rest[[-(-k * len(rest) // 5) - 1 for k in range(1, 5)]]
  expected = 1 + np.searchsorted(edges, counts, side="left")
  expected = np.where(counts == heavy, 6, expected)
  expected = np.where(known, expected, 0)

  def rows(times, items):
    values = recent("id.3", _ITEMS, 5, times, items)(moments, _CLOCK, _FEEDBACK)
    return fitted.ids(values), values

  count = recent("id.3", _ITEMS, 5, times, items)
  values = count(moments, _CLOCK, _FEEDBACK)
  fitted = Percentiles(5).fit(values, np.ones(200, int))
  found, _ = rows(times, items)
  np.testing.assert_array_equal(found, expected)
  # What happens from day 8 on changes no row of a moment before it.
  early = moments.times <= 8 * _DAY
  moved = np.where(times >= 8 * _DAY, 1 + items % 5, items).astype(np.int32)
  again, others = rows(times, moved)
  np.testing.assert_array_equal(again[early], found[early])
  assert np.any(others[~early] != values[~early])
