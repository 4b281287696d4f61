# SPDX-License-Identifier: Apache-2.0
"""The last events of a history by request: what came of them, when, how long
after the request before.

    event item shown label asked time  (n,)  of the event itself
    request first request_time gap     (n,)  of the request that it belongs to

A request was made when the first of its events came, be that one kept or not:
its time is that event's, and `first` is where the events before it end, which
is all that an item of the request may look back to. Requests that were made by
the first kept event are number 0, later ones 1, 2, ... in the order in which
they were made. So nothing that is told of an event depends on what came after
its request, in whatever order requests mix.

A gap of -1 is not known: it is that of number 0, or one of two requests has no
time. Events without a time all get one, so far back that its distance to any
known time falls into buckets of its own (`measurable`); two of them are as far
apart as two of the same second.
"""

import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.schema import Record

UNKNOWN_GAP = -1
# Known times lie within 0 .. _SPAN, 31 years: any two are less apart than each
# is from UNKNOWN_TIME, by one bucket of ops/time_buckets.py, and that is within
# int32.
_SPAN = 10**9
_INT32_MAX = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True)
class RequestEvents:
  """See the module docstring; all int32 but asked.

  Attributes:
    event: places in the record.
    item: item ids.
    shown: bit mask of what the model may read of the action.
    label: bit mask of the tasks.
    asked: whether the event can be asked about.
    time: seconds; UNKNOWN_TIME where not known.
    request: running number.
    first: events before the request, of those kept.
    request_time: when the request was made.
    gap: seconds between the request before and this one.
    num_requests: number of a request that is made after all events.
    last_request_time: when the last of the requests was made; UNKNOWN_TIME
      where there is none, or it has no time.
  """

  event: Int[np.ndarray, "n"]
  item: Int[np.ndarray, "n"]
  shown: Int[np.ndarray, "n"]
  label: Int[np.ndarray, "n"]
  asked: Bool[np.ndarray, "n"]
  time: Int[np.ndarray, "n"]
  request: Int[np.ndarray, "n"]
  first: Int[np.ndarray, "n"]
  request_time: Int[np.ndarray, "n"]
  gap: Int[np.ndarray, "n"]
  num_requests: int
  last_request_time: int

  @classmethod
  def of(
    cls,
    record: Record,
    end: int,
    max_events: int,
    feedback: BoundFeedback | None,
    shown: BoundFeedback | None,
  ) -> "RequestEvents":
    """The last max_events of a record's first `end` events.

    Args:
      record: of a user.
      end: events that may be seen.
      max_events: kept, the most recent ones.
      feedback: what labels are; None for a layout that is not bound.
      shown: what the model reads of actions; None likewise.
    """
    start = max(0, end - max_events)
    whole, record = _cut(record, 0, end), _cut(record, start, end)
    count = len(record["item"])
    nothing = np.zeros(count, np.int32)
    known = count > 0 and feedback is not None and shown is not None
    time = _times(whole, feedback if known else None)
    # Where the request of every event began, and where each request did.
    began = _first_events(request_numbers(whole))
    begins, request = np.unique(began, return_inverse=True)
    # The last request that had begun when the kept events do.
    base = max(0, int(np.searchsorted(begins, start, side="right")) - 1)
    made, request = time[begins], request[start:]
    both = (made[1:] != UNKNOWN_TIME) & (made[:-1] != UNKNOWN_TIME)
    since = np.minimum(np.diff(made.astype(np.int64)), _INT32_MAX)
    since = np.where(both, since, UNKNOWN_GAP)
    gap = np.concatenate([np.full(min(1, len(made)), UNKNOWN_GAP), since])
    gap[: base + 1] = UNKNOWN_GAP
    return cls(
      event=np.arange(start, start + count),
      item=record["item"],
      shown=shown.done(record) if known else nothing,
      label=feedback.bits(record) if known else nothing,
      asked=feedback.asked(record) if known else nothing > 0,
      time=time[start:].astype(np.int32),
      request=np.maximum(request - base, 0).astype(np.int32),
      first=np.maximum(began[start:] - start, 0).astype(np.int32),
      request_time=made[request].astype(np.int32),
      gap=gap[request].astype(np.int32),
      num_requests=len(made) - base,
      last_request_time=int(made[-1]) if len(made) else UNKNOWN_TIME,
    )

  def gap_to(self, time: int) -> int:
    """Seconds from the last request to one at a time; -1 where not known."""
    last = self.last_request_time
    if last == UNKNOWN_TIME:
      return UNKNOWN_GAP
    return min(max(0, time - last), _INT32_MAX)


def measurable(times: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
  """Times as a model that subtracts them in int32 needs them.

  Known times stay what they are from the data set's epoch to 31 years after it,
  and count as its nearest end where they lie outside: of a log over 29 years
  the epoch is the last 29's beginning. Between a known and an unknown time
  differences are thus greater than between any two known ones, and within
  int32. Each time is read alone, so that nothing hangs on what comes after it.

  Args:
    times: seconds since the epoch, int32; UNKNOWN_TIME where not known.
  """
  return np.where(
    times == UNKNOWN_TIME, times, np.clip(times, 0, _SPAN)
  ).astype(np.int32)


def _cut(record: Record, start: int, end: int) -> Record:
  fields = ("item", "time", "action", "value", "request")
  return {name: record[name][start:end] for name in fields if name in record}


def _times(record: Record, feedback: BoundFeedback | None):
  """Times of a record's events; UNKNOWN_TIME where there is none."""
  count = len(record["item"])
  untimed = np.zeros(count, bool)
  if "time" not in record:
    untimed = np.ones(count, bool)
  elif feedback is not None:
    untimed = feedback.untimed(record)
  time = record.get("time", np.zeros(count, np.int32))
  return np.where(untimed, UNKNOWN_TIME, time)


def _first_events(numbers: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
  """Where the request of every event has its first event."""
  _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
  return first[place]
