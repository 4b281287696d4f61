# SPDX-License-Identifier: Apache-2.0
"""Every unit and spelling of one moment becomes the same microseconds."""

import datetime

from hypothesis import given, strategies as st
import numpy as np
import polars as pl
import pytest

from genrec_jax.data import times

MOMENT = 1_420_070_400  # 2015-01-01 00:00:00 UTC


def _read(values, dtype=None):
  frame = pl.DataFrame({"t": pl.Series(values, dtype=dtype)})
  for reading in times.readings("t", frame.schema):
    column = frame.select(reading.value).to_series()
    if column.null_count() == 0:
      break
  values = column.to_numpy()
  unit = reading.unit or times.unit_of(values, np.arange(1, len(values) + 1))
  return times.to_microseconds(values, unit).tolist()


@pytest.mark.parametrize(
  "value",
  [
    MOMENT,
    float(MOMENT),
    MOMENT * 10**3,
    MOMENT * 10**6,
    MOMENT * 10**9,
    str(MOMENT),
    f"{MOMENT}.0",
    f"{MOMENT}000",
    "2015-01-01",
    "2015-01-01T00:00",
    "2015-01-01 00:00:00",
    "2015-01-01T00:00:00.000",
    "2015-01-01T00:00:00Z",
    "2015-01-01T02:00:00+02:00",
    "2015-01-01 02:00:00+0200",
    "2015-01-01 02:00:00 +02:00",
    "2014-12-31 19:00:00.000 -0500",
    "2015-01-01 00:00:00 UTC",
    "2015-01-01 00:00:00.000000 GMT",
    "2015-01-01T00:00Z",
    "2015-01-01 00:00 UTC",
    datetime.date(2015, 1, 1),
    datetime.datetime(2015, 1, 1),
    datetime.datetime(2015, 1, 1, tzinfo=datetime.UTC),
  ],
)
def test_one_moment_in_many_spellings(value):
  assert _read([value, value]) == [MOMENT * 10**6] * 2


@pytest.mark.parametrize(
  "value", [MOMENT + 0.25, f"{MOMENT}.25", "2015-01-01T00:00:00.25"]
)
def test_fractions_of_a_second_are_kept(value):
  assert _read([value]) == [MOMENT * 10**6 + 250_000]


@given(
  st.lists(st.integers(10**9, 4 * 10**9), min_size=1, max_size=20),
  st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_the_unit_is_recognised(seconds, unit):
  factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
  values = np.array(seconds, np.int64) * factor
  assert times.unit_of(values, np.arange(len(values))) == unit
  micros = times.to_microseconds(values, unit)
  assert micros.tolist() == [s * 10**6 for s in seconds]


def test_mixed_units_name_a_row_of_each():
  values = np.array([MOMENT, MOMENT + 5, MOMENT * 1000])
  message = (
    f"row 1 holds {MOMENT} .seconds., row 3 holds {MOMENT}000 .milliseconds."
  )
  with pytest.raises(ValueError, match=message):
    times.unit_of(values, np.arange(1, 4))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_marks_of_unknown_times_have_no_unit_of_their_own(unit):
  factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
  values = np.array([0, MOMENT * factor, -1, (MOMENT + 9) * factor])
  assert times.unit_of(values, np.arange(4)) == unit
  micros = times.to_microseconds(values, unit)
  assert times.unknown(micros).tolist() == [True, False, True, False]
  assert times.unit_of(np.array([0, -1]), np.arange(2)) == "s"
  with pytest.raises(ValueError, match="row 8 holds 1 .seconds., row 9 holds"):
    times.unit_of(np.array([0, 1, MOMENT * 1000]), np.arange(7, 10))


def test_dates_written_as_numbers_are_not_seconds():
  with pytest.raises(ValueError, match="YYYYMMDD"):
    times.unit_of(np.array([20150131, 20141201]), np.arange(2))


def test_numbers_beyond_any_time_are_refused():
  with pytest.raises(ValueError, match="no times"):
    times.to_microseconds(np.array([2.0**62]), "s")


def test_types_that_are_no_times_are_refused():
  frame = pl.DataFrame({"t": [True]})
  with pytest.raises(ValueError, match="'t' has the type Boolean"):
    times.readings("t", frame.schema)


@pytest.mark.parametrize("mark", [0, -1, -9999])
def test_marks_of_unknown_times_are_refused(mark):
  values = np.array([MOMENT, MOMENT + 5, mark, MOMENT + 9, mark])
  micros = times.to_microseconds(values, "s")
  message = f"2 of 5 timestamps .* first is {mark} in row 30.*drop_unreadable"
  with pytest.raises(ValueError, match=message):
    times.check_known(micros, values, np.arange(10, 60, 10))


@pytest.mark.parametrize(
  "values",
  [
    [0, 5, 20, 10**9],  # counted from the start of the log
    [-30 * 10**6, -1, 30 * 10**6, 10**9],  # began before 1970
    [-5, -3],
    [0, 0],
    [MOMENT, MOMENT + 1],
  ],
)
def test_times_around_1970_are_times(values):
  values = np.array(values)
  micros = times.to_microseconds(values, "s")
  times.check_known(micros, values, np.arange(len(values)))
