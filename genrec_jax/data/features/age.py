# SPDX-License-Identifier: Apache-2.0
"""How old an item was at a moment, in seconds.

    age.ATTRIBUTE   since the date that the item has there: a date, ISO text, or
                    a time since 1970; in the zone of the clock
    age.id          since the item's first training event before the moment

NaN where nothing is known: no date, no time, or no event before the moment. A
date behind the moment makes an age below 0.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data import times
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.features.affinity import ID
from genrec_jax.data.features.moments import Clock, Moments
from genrec_jax.data.prepare.attributes import scalars

_NEVER = np.iinfo(np.int64).max


def age(
  field: str,
  attributes: pl.DataFrame,
  num_items: int,
  times_E: Int[np.ndarray, "E"],
  items_E: Int[np.ndarray, "E"],
) -> Callable[..., Float[np.ndarray, "n"]]:
  """The function of a feature: (moments, clock, feedback) -> seconds.

  Args:
    field: ATTRIBUTE or "id".
    attributes: of items 1, 2, ... in order.
    num_items: V.
    times_E: seconds since the data set's epoch, of all training events.
    items_E: their items.

  Raises:
    ValueError: an attribute that items lack, or that holds no dates.
  """
  if field != ID:
    return _since(_dates(field, attributes))
  first_V1 = np.full(num_items + 1, _NEVER)
  np.minimum.at(first_V1, items_E, times_E.astype(np.int64))

  def since_first(moments: Moments, clock: Clock, feedback: BoundFeedback):
    del clock, feedback
    if moments.times is None:
      return np.full(len(moments.ends), np.nan)
    first_N = first_V1[moments.items]
    time_N = moments.times.astype(np.int64)
    known_N = first_N < time_N
    return np.where(known_N, time_N - np.where(known_N, first_N, 0), np.nan)

  return since_first


def _since(dates_V1: Float[np.ndarray, "V1"]):
  def since_date(moments: Moments, clock: Clock, feedback: BoundFeedback):
    del feedback
    return clock.local(moments) - dates_V1[moments.items]

  return since_date


def _dates(name: str, attributes: pl.DataFrame) -> Float[np.ndarray, "V1"]:
  """Seconds since 1970 by item, as if dates were UTC; NaN where there is none.

  Raises:
    ValueError: no such attribute, or a value that is no date.
  """
  if name not in attributes.columns:
    choices = [ID, *attributes.columns]
    raise ValueError(
      f"items have no attribute {name!r}, of feature age.{name}."
      + choices_hint(name, choices)
    )
  column = scalars(attributes[name])
  frame = pl.DataFrame({"date": column})
  there = column.is_not_null()
  if column.dtype == pl.String:
    there &= frame.select(times.is_text(pl.col("date")))["date"]
  try:
    readings = times.readings("date", dict(frame.schema))
  except ValueError as error:
    raise ValueError(f"feature age.{name}: {error}") from error
  for reading in readings:
    found = frame.select(reading.value).to_series()
    unread = there & found.is_null()
    if not unread.any():
      unit = reading.unit or _unit(found)
      seconds = found.cast(pl.Float64) * times.MICROSECONDS[unit] / 1e6
      return np.concatenate([[np.nan], seconds.fill_null(np.nan).to_numpy()])
  raise ValueError(
    f"feature age.{name}: items have {short(str(column.filter(unread)[0]))}"
    " there, which is no date: give ISO dates, or times since 1970."
  )


def _unit(numbers: pl.Series) -> str:
  """Seconds, or a finer unit where all numbers are so large."""
  rows = np.flatnonzero(numbers.is_not_null().to_numpy())
  values = numbers.drop_nulls().to_numpy()
  return times.unit_of(values, rows + 1) if len(values) else "s"
