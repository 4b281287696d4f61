# SPDX-License-Identifier: Apache-2.0
"""The column `timestamp` of a log: the reading that fits it, and microseconds.

The head of the log says which reading of data/times.py is likely. Where it
does not fit every row, all of them are tried on the whole log, and the one that
fits most says which rows nobody can read.
"""

from collections.abc import Callable

from jaxtyping import Bool, Int
import numpy as np
import polars as pl

from genrec_jax.data import times

NAME = "timestamp"
EXPECTED = (
  "seconds or milliseconds since 1970, or an ISO date and time; rows of other"
  " times are dropped with --config.filter.drop_unreadable_timestamps=True"
)
# (parsed column) -> true where there is something that was not read.
Unread = Callable[[pl.Expr], pl.Expr]


def likely(
  log: pl.LazyFrame, choices: list[times.Reading], unread: Unread
) -> times.Reading:
  """The reading that fits the head of the log best."""
  if len(choices) == 1:
    return choices[0]
  failures = (
    log.select(NAME)
    .head(1000)
    .select(
      unread(choice.value).sum().alias(str(i))
      for i, choice in enumerate(choices)
    )
    .collect()
    .row(0)
  )
  return choices[int(np.argmin(failures))]


def reread(
  log: pl.LazyFrame, choices: list[times.Reading], unread: Unread
) -> tuple[times.Reading, pl.DataFrame]:
  """Tries every reading on the whole log, the cheapest first.

  Returns:
    the first that reads everything, or else most; its values, and as "bad
    timestamp" the rows that it cannot read.
  """
  best = None
  for choice in choices:
    frame = log.select(
      choice.value.alias(NAME),
      unread(choice.value).alias(f"bad {NAME}"),
    ).collect(engine="streaming")
    failures = int(frame[f"bad {NAME}"].sum())
    if best is None or failures < best[0]:
      best = (failures, choice, frame)
    if not failures:
      break
  return best[1], best[2]


def microseconds(
  column: pl.Series,
  keep: Bool[np.ndarray, "E"],
  unit: str | None,
  *,
  drop_unknown: bool,
) -> tuple[Int[np.ndarray, "E"], Bool[np.ndarray, "E"]]:
  """Times of all rows, 0 at rows that are not kept, and those of unknown time.

  Args:
    column: numbers or microseconds, null where there are none.
    keep: rows that count; they have a time.
    unit: of the numbers; None = recognise it.
    drop_unknown: mark times that stand for "unknown"; otherwise they are an
      error.

  Raises:
    ValueError: mixed units, what is no time, or marks of unknown times.
  """
  whole = not column.null_count() and keep.all()
  rows = np.arange(len(keep)) if whole else np.flatnonzero(keep)
  values = column.to_numpy() if whole else column.gather(rows).to_numpy()
  unit = unit or times.unit_of(values, rows + 1)
  found = times.to_microseconds(values, unit)
  unknown = np.zeros(len(column), bool)
  if drop_unknown:
    unknown[rows] = times.unknown(found)
  else:
    times.check_known(found, values, rows + 1)
  if whole:
    return found, unknown
  result = np.zeros(len(column), np.int64)
  result[rows] = found
  return result, unknown
