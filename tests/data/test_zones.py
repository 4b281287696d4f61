# SPDX-License-Identifier: Apache-2.0
"""Local times as UTC, against Python's zoneinfo; names that are no zone's."""

import datetime
import zoneinfo

from hypothesis import given, strategies as st
import polars as pl
import pytest

from genrec_jax.data import times, zones

_ZONES = ("Europe/London", "America/New_York", "Asia/Kathmandu", "UTC")
_YEARS = (datetime.datetime(1971, 1, 1), datetime.datetime(2036, 1, 1))


def _utc(moments, zone):
  frame = pl.DataFrame({"t": pl.Series(moments, dtype=pl.Datetime("us"))})
  return frame.select(zones.utc(pl.col("t"), zone))["t"].to_list()


@given(st.datetimes(*_YEARS), st.sampled_from(_ZONES))
def test_is_what_python_says(moment, zone):
  aware = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=0)
  wanted = aware.astimezone(datetime.UTC)
  skipped = wanted.astimezone(aware.tzinfo).replace(tzinfo=None) != moment
  wanted = None if skipped else wanted.replace(tzinfo=None)
  assert _utc([moment], zone) == [wanted]


def test_an_hour_shown_twice_is_the_first_and_a_skipped_one_is_none():
  twice = datetime.datetime(2010, 10, 31, 1, 30)
  skipped = datetime.datetime(2010, 3, 28, 1, 30)
  first = datetime.datetime(2010, 10, 31, 0, 30)
  assert _utc([twice, skipped, None], "Europe/London") == [first, None, None]


@pytest.mark.parametrize("text", ["2010-07-01 10:00:00", "2010-07-01T10:00"])
@pytest.mark.parametrize(
  ("offset", "hour"), [("", 9), ("Z", 10), (" UTC", 10), ("+02:00", 8)]
)
def test_a_zone_is_of_text_that_names_none(text, offset, hour):
  frame = pl.DataFrame({"t": [text + offset]})
  found = [
    frame.select(reading.value).item()
    for reading in times.readings("t", frame.schema, "Europe/London")
  ]
  wanted = datetime.datetime(2010, 7, 1, hour, tzinfo=datetime.UTC)
  assert {x for x in found if x is not None} == {wanted.timestamp() * 1e6}


@pytest.mark.parametrize(
  ("moment", "hour"),
  [
    (datetime.date(2010, 7, 1), 23),
    (datetime.datetime(2010, 7, 1, 10), 9),
    (datetime.datetime(2010, 7, 1, 10, tzinfo=datetime.UTC), 10),
  ],
)
def test_a_zone_is_of_dates_that_have_none(moment, hour):
  frame = pl.DataFrame({"t": [moment]})
  reading = times.readings("t", frame.schema, "Europe/London")[0]
  seconds = frame.select(reading.value).item() // 10**6
  assert seconds % 86_400 == hour * 3600


@pytest.mark.parametrize("name", ["Europe/Lodnon", "Europe", "", "GMT+25", "/"])
def test_a_name_that_is_no_zones_is_told(name):
  with pytest.raises(
    ValueError, match=f"^zone='{name}' is no time zone".replace("+", "\\+")
  ):
    zones.check(name, "zone")
  for known in _ZONES:
    assert zones.check(known) == known


def test_the_nearest_name_is_told():
  with pytest.raises(ValueError, match="Did you mean 'Europe/London'"):
    zones.check("Europe/Lodnon")
