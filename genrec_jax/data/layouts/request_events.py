# SPDX-License-Identifier: Apache-2.0
"""The last events of a history by request: what came of them, when, how long
after the request before.

Of n events, with r the running number of an event's request among them:

    item shown label asked time      (n,)  of the event itself
    request first request_time gap   (n,)  of the request that it belongs to

`first` is the place of the request's first event, which is all that an item of
that request may look back to. A gap of -1 is not known: there was no request
before, or one of the two has no time. Events without a time all get one, so far
back that its distance to any known time falls into a bucket of its own; two of
them are as far apart as two of the same second.
"""

import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.schema import Record

# 34 years before the data set's first event.
UNKNOWN_TIME = -(2**30)
UNKNOWN_GAP = -1


@dataclasses.dataclass(frozen=True)
class RequestEvents:
  """See the module docstring; all int32 but asked.

  Attributes:
    item: item ids.
    shown: bit mask of what the model may read of the action.
    label: bit mask of the tasks.
    asked: whether the event can be asked about.
    time: seconds; UNKNOWN_TIME where not known.
    request: running number.
    first: place of the request's first event.
    request_time: time of that event.
    gap: seconds between the request before and this one.
    num_requests: how many there are.
  """

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
    record = _cut(record, max(0, end - max_events), end)
    count = len(record["item"])
    nothing = np.zeros(count, np.int32)
    known = count > 0 and feedback is not None and shown is not None
    untimed = feedback.untimed(record) if known else np.zeros(count, bool)
    if "time" not in record:
      untimed = np.ones(count, bool)
    time = np.where(untimed, UNKNOWN_TIME, record.get("time", nothing))
    _, first, request = np.unique(
      _by_first_event(request_numbers(record)),
      return_index=True,
      return_inverse=True,
    )
    start = time[first]
    both = (start[1:] != UNKNOWN_TIME) & (start[:-1] != UNKNOWN_TIME)
    # The sum of two known times is within int32, that of others is not read.
    since = np.where(both, np.diff(start.astype(np.int64)), UNKNOWN_GAP)
    gap = np.concatenate([np.full(min(1, count), UNKNOWN_GAP), since])
    return cls(
      item=record["item"],
      shown=shown.bits(record) if known else nothing,
      label=feedback.bits(record) if known else nothing,
      asked=feedback.asked(record) if known else nothing > 0,
      time=time.astype(np.int32),
      request=request.astype(np.int32),
      first=first[request].astype(np.int32),
      request_time=start[request].astype(np.int32),
      gap=gap[request].astype(np.int32),
      num_requests=len(first),
    )

  def gap_to(self, time: int) -> int:
    """Seconds from the last request to one at a time; -1 where not known."""
    if not self.num_requests:
      return UNKNOWN_GAP
    last = int(self.request_time[np.argmax(self.request)])
    return UNKNOWN_GAP if last == UNKNOWN_TIME else max(0, time - last)


def _cut(record: Record, start: int, end: int) -> Record:
  fields = ("item", "time", "action", "value", "request")
  return {name: record[name][start:end] for name in fields if name in record}


def _by_first_event(numbers: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
  """Numbers that grow with the first event of a request."""
  _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
  return first[place]
