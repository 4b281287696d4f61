# SPDX-License-Identifier: Apache-2.0
"""Timestamps of any kind -> microseconds, and the unit they came in.

Whole or fractional numbers are seconds, milliseconds, microseconds or
nanoseconds since 1970, told apart by their size: below 1e11 seconds (until
the year 5138), below 1e14 milliseconds (from 1973 on), and so on. All rows
must agree, or the log mixes units. Text is read as a number or as an ISO date
and time, with an offset, "Z" or "UTC" behind it, or without one as local time
of the zone that the source declares (UTC).
Times until 1970 in a log that is otherwise of 1971 and later stand for
"unknown" and are refused. Microseconds in int64 keep
the order of events within a second; the model sees int32 seconds (see
sequences.py).
"""

import dataclasses
import datetime

from jaxtyping import Bool, Int, Int32
import numpy as np
import polars as pl

from genrec_jax.data import ids, zones
from genrec_jax.data.ids import Types

MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_INT32 = np.iinfo(np.int32)
_MARKS = (0, -1)
_YEAR_MICROSECONDS = 365 * 86_400 * 10**6
_LIMITS = {"s": 1e11, "ms": 1e14, "us": 1e17}
_NAMES = {
  "s": "seconds",
  "ms": "milliseconds",
  "us": "microseconds",
  "ns": "nanoseconds",
}


# Formats that whole logs have, and whether times are local in them.
_COMMON = tuple(
  (f"%Y-%m-%d{between}%H:%M:%S%.f{zone}", not zone)
  for between in " T"
  for zone in ("", " UTC", "Z", "+00:00")
)


@dataclasses.dataclass(frozen=True)
class Reading:
  """One way to read a column of timestamps.

  `value` gives numbers in an unknown unit or, where `unit` is set, in that
  unit; it is null where the column cannot be read so.
  """

  value: pl.Expr
  unit: str | None


def readings(name: str, types: Types, zone: str = zones.UTC) -> list[Reading]:
  """Ways to read a column, the cheapest first.

  Args:
    name: of the column.
    types: of all columns.
    zone: of dates and text that name none.

  Raises:
    ValueError: a type that holds no times.
  """
  column, dtype = pl.col(name), types[name]
  if dtype.is_integer():
    return [Reading(column.cast(pl.Int64, strict=False), None)]
  if dtype.is_float():
    return [Reading(column.fill_nan(None), None)]
  if isinstance(dtype, pl.Datetime | pl.Date):
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
      zone = zones.UTC
    moment = zones.utc(column.cast(pl.Datetime("us")), zone)
    return [Reading(moment.dt.epoch("us"), "us")]
  if dtype == pl.Null:
    return [Reading(column.cast(pl.Int64), None)]
  if dtype != pl.String:
    raise ValueError(
      f"the timestamp column {name!r} has the type {dtype}; it must hold"
      " numbers, ISO text or dates."
    )
  text = pl.when(is_text(column)).then(column)
  whole = text.cast(pl.Int64, strict=False)
  fraction = text.cast(pl.Float64, strict=False)
  fraction = pl.when(fraction.is_finite()).then(fraction)
  return [
    Reading(whole, None),
    Reading(fraction, None),
    # One format is several times as fast as all of them.
    *(
      Reading(
        _naive(text, f, zone if local else zones.UTC).dt.epoch("us"), "us"
      )
      for f, local in _COMMON
    ),
    Reading(_iso(text, zone), "us"),
  ]


def is_text(column: pl.Expr) -> pl.Expr:
  """Whether a text is more than nothing or a word for a missing value."""
  missing = ids.is_null_word(column) | (column.str.to_lowercase() == "nat")
  return (column.str.len_bytes() > 0) & ~missing


def _iso(text: pl.Expr, zone: str) -> pl.Expr:
  """ISO text as microseconds; " UTC" is a zone, and so is " +02:00"."""
  text = text.str.replace(r"(?i)\s?(utc|gmt|z)$", "+00:00").str.replace(
    r"\s([+-]\d\d:?\d\d)$", "${1}"
  )
  formats = [f"%Y-%m-%d{t}%H:%M" for t in "T "]
  formats = [f"{day}{s}" for s in (":%S%.f", "") for day in formats]
  aware = [
    text.str.strptime(pl.Datetime("us", "UTC"), f"{f}%#z", strict=False)
    for f in formats
  ]
  naive = [_naive(text, f, zone) for f in formats]
  day = text.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
  naive.append(zones.utc(day.cast(pl.Datetime("us")), zone))
  return pl.coalesce(
    *(e.dt.epoch("us") for e in naive), *(e.dt.epoch("us") for e in aware)
  )


def _naive(text: pl.Expr, format_: str, zone: str) -> pl.Expr:
  return zones.utc(
    text.str.strptime(pl.Datetime("us"), format_, strict=False), zone
  )


def unix_seconds(text: str, option: str) -> int:
  """Seconds since 1970 of an ISO date; UTC where it names no zone.

  Args:
    text: such as "2015-01-31" or "2015-01-31T12:00:00+08:00".
    option: where it stands, for the error.

  Raises:
    ValueError: it is no date.
  """
  try:
    moment = datetime.datetime.fromisoformat(text)
  except (TypeError, ValueError) as e:
    raise ValueError(
      f"{option}={text!r} is no date such as '2015-01-31' or"
      " '2015-01-31T12:00:00+08:00'."
    ) from e
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  return int(moment.timestamp())


def iso(seconds: int) -> str:
  """Seconds since 1970 as a date and a time, UTC."""
  start = datetime.datetime(1970, 1, 1)
  return f"{start + datetime.timedelta(seconds=int(seconds))} UTC"


def unit_of(values: np.ndarray, rows: np.ndarray) -> str:
  """The unit that all values agree on, by size.

  0 and -1, which may stand for an unknown time, have none where others do.

  Args:
    values: timestamps (E,), integers or floats.
    rows: row number of each in the file, from 1, for the error.

  Raises:
    ValueError: values of different units.
  """
  size = np.abs(values)
  low, high = int(size.argmin()), int(size.argmax())
  if values[low] in _MARKS:
    known = np.flatnonzero((values != 0) & (values != -1))
    low = int(known[size[known].argmin()]) if len(known) else low
  units = [_unit(abs(float(values[i]))) for i in (low, high)]
  if units[0] != units[1]:
    first, second = (
      f"row {rows[i]} holds {values[i]} ({_NAMES[unit]})"
      for i, unit in zip((low, high), units, strict=True)
    )
    raise ValueError(
      f"timestamps of mixed units: {first}, {second}. Bring them to one unit,"
      " or remove rows whose time is unknown."
    )
  if units[0] == "s" and _look_like_dates(values):
    raise ValueError(
      f"timestamps such as {values[0]} look like dates (YYYYMMDD) and not like"
      " seconds; write them as 2015-01-31, or say unit='s'."
    )
  return units[0]


def unknown(microseconds: Int[np.ndarray, "E"]) -> Bool[np.ndarray, "E"]:
  """Marks times that stand for "unknown".

  0 and -1 are such marks where all other times are of 1971 or later. A log
  that counts from its own start has times soon after 0, and one that is older
  than 1970 has times of all years around it: neither has marks.

  Args:
    microseconds: times of the log.
  """
  early = microseconds <= 0
  some = early.any() and not early.all()
  if some and int(microseconds[~early].min()) >= _YEAR_MICROSECONDS:
    return early
  return np.zeros(len(early), bool)


def check_known(
  microseconds: Int[np.ndarray, "E"], values: np.ndarray, rows: np.ndarray
) -> None:
  """Raises a ValueError where some times are marks for "unknown".

  Args:
    microseconds: times of the log.
    values: the same as they stand in the file, for the error.
    rows: row number of each in the file, from 1, for the error.
  """
  marks = unknown(microseconds)
  if not marks.any():
    return
  first = int(marks.argmax())
  raise ValueError(
    f"{int(marks.sum()):,} of {len(marks):,} timestamps are of 1970 or before"
    f" and all others of 1971 or later; the first is {values[first]} in row"
    f" {rows[first]}. Such values mostly stand for an unknown time. Drop those"
    " rows with --config.filter.drop_unreadable_timestamps=True."
  )


def _look_like_dates(values: np.ndarray) -> bool:
  months, days = values // 100 % 100, values % 100
  return bool(
    values.min() >= 1900_01_01
    and values.max() <= 2100_12_31
    and (1 <= months).all()
    and (months <= 12).all()
    and (1 <= days).all()
    and (days <= 31).all()
  )


def _unit(size: float) -> str:
  for unit, limit in _LIMITS.items():
    if size < limit:
      return unit
  return "ns"


def to_microseconds(values: np.ndarray, unit: str) -> Int[np.ndarray, "E"]:
  """int64 microseconds; what is finer is cut off.

  Raises:
    ValueError: beyond the years that int64 microseconds can hold.
  """
  factor = MICROSECONDS[unit]
  if float(np.abs(values).max(initial=0)) * factor > 2**62:
    raise ValueError(
      f"timestamps of up to {np.abs(values).max()} {_NAMES[unit]} are no times;"
      " check the column and its unit."
    )
  if factor < 1:
    return (values // round(1 / factor)).astype(np.int64)
  if np.issubdtype(values.dtype, np.integer):
    return values.astype(np.int64) * int(factor)
  return np.rint(values * factor).astype(np.int64)


def to_the_minute(time: datetime.datetime | None) -> str:
  """A time as people read it; '' where it is not known."""
  return "" if time is None else f"{time:%Y-%m-%d %H:%M}"


def int32_seconds(
  seconds: Int[np.ndarray, "N"], what: str
) -> Int32[np.ndarray, "N"]:
  """Returns int64 seconds since the data set's epoch as int32.

  Raises:
    ValueError: one lies outside int32, 68 years around the epoch; `what` names
      it in the message.
  """
  wrong = np.flatnonzero((seconds < _INT32.min) | (seconds > _INT32.max))
  if wrong.size:
    raise ValueError(
      f"{what}: {seconds[wrong[0]]} s after the data set's first event lies"
      f" outside the 68 years ({_INT32.max} s) that its times can hold. Look"
      " for wrong timestamps in the log, or give fewer events"
    )
  return seconds.astype(np.int32)
