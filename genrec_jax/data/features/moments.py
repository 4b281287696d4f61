# SPDX-License-Identifier: Apache-2.0
"""What is known of a user at the moment of a request: context features.

    hour  weekday         local time of the request; Monday is 0
    gap                   seconds since the event before the request
    events  past_TASK     the user's events so far, and those with the task

A moment is a number of events that were over, and a time. Only those events are
read: neither the impression that is asked about nor what was shown beside it.
Missing values are NaN.
"""

from collections.abc import Callable
import dataclasses

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.schema import Record

# The record of a user who has done nothing.
NO_EVENTS = {
  "item": np.zeros(0, np.int32),
  "time": np.zeros(0, np.int32),
  "action": np.zeros(0, np.int32),
  "value": np.zeros(0, np.float32),
}
_HOUR = 3600
# 1970-01-01 was a Thursday.
_FIRST_WEEKDAY = 3


@dataclasses.dataclass(frozen=True)
class Moments:
  """n moments of one user at which something is asked.

  Attributes:
    record: the user's events.
    ends: how many of them were over at each moment.
    times: seconds since the data set's epoch; None where it has no times.
    items: what is asked about.
    untils: seconds before which events of others are known; None = times. Less
      behind frozen histories.
  """

  record: Record
  ends: Int[np.ndarray, "n"]
  times: Int[np.ndarray, "n"] | None
  items: Int[np.ndarray, "n"]
  untils: Int[np.ndarray, "n"] | None = None

  @property
  def known_until(self) -> Int[np.ndarray, "n"] | None:
    """`untils`, or when it was asked."""
    return self.times if self.untils is None else self.untils

  @classmethod
  def of_events(cls, record: Record, events: Int[np.ndarray, "n"]) -> "Moments":
    """Those of the requests that the events belong to."""
    _, first, place = np.unique(
      request_numbers(record), return_index=True, return_inverse=True
    )
    ends = first[place[events]]
    times = record["time"][ends] if "time" in record else None
    return cls(record, ends, times, record["item"][events])

  @classmethod
  def after(
    cls,
    record: Record,
    time: int,
    items: Int[np.ndarray, "n"],
    until: int | None = None,
  ) -> "Moments":
    """Those at which items are asked about after a whole record.

    Args:
      record: may have no event at all, and then no fields of events either.
      time: of the request; not read where the record has no times.
      items: indices.
      until: seconds before which events of others are known; None = time.
    """
    if not len(record["item"]):
      record = NO_EVENTS
    ends = np.full(len(items), len(record["item"]))
    if "time" not in record:
      return cls(record, ends, None, items)
    times, untils = (
      np.full(len(items), t, np.int32)
      for t in (time, time if until is None else until)
    )
    return cls(record, ends, times, items, untils)


@dataclasses.dataclass(frozen=True)
class Clock:
  """Local time of a data set's seconds; epoch None = it has no times."""

  epoch_seconds: int | None
  utc_offset_hours: float = 0.0

  def local(self, moments: Moments) -> Float[np.ndarray, "n"]:
    """Seconds since 1970-01-01 00:00 local time; NaN where unknown."""
    if moments.times is None or self.epoch_seconds is None:
      return np.full(len(moments.ends), np.nan)
    shift = self.epoch_seconds + self.utc_offset_hours * _HOUR
    return moments.times.astype(np.float64) + shift


def _hour(moments, clock, feedback):
  del feedback
  return clock.local(moments) // _HOUR % 24


def _weekday(moments, clock, feedback):
  del feedback
  days = clock.local(moments) // (24 * _HOUR)
  return (days + _FIRST_WEEKDAY) % 7


def _gap(moments, clock, feedback):
  del clock
  last = moments.ends - 1
  gap = np.full(len(last), np.nan)
  if moments.times is None:
    return gap
  # An event whose time is not known only says that it was earlier; the one
  # before the first (-1) is put at the end.
  timed = np.append(~feedback.untimed(moments.record), False)
  known = timed[last]
  before = moments.record["time"][last[known]].astype(np.float64)
  gap[known] = moments.times[known] - before
  return gap


def _events(moments, clock, feedback):
  del clock, feedback
  return moments.ends.astype(np.float64)


def _past(task: int):
  def count(moments, clock, feedback):
    del clock
    has = feedback.done(moments.record) >> task & 1
    return np.concatenate([[0.0], np.cumsum(has)])[moments.ends]

  return count


def context_functions(
  feedback: BoundFeedback,
) -> dict[str, Callable[..., Float[np.ndarray, "n"]]]:
  """context.NAME -> (moments, clock, feedback) -> values, NaN for missing."""
  return {
    "hour": _hour,
    "weekday": _weekday,
    "gap": _gap,
    "events": _events,
    **{f"past_{task}": _past(t) for t, task in enumerate(feedback.tasks)},
  }
