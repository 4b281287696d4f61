# SPDX-License-Identifier: Apache-2.0
"""What came of an item, or of all items like it, in the last hours or days.

    window.ATTRIBUTE.SPAN        events of items with the same attribute in
                                 [m - SPAN, m), whoever's they are
    window.ATTRIBUTE.SPAN.TASK   the share of them on which the task was done;
                                 NaN where there is none of them

SPAN is such as "7d" or "6h", ATTRIBUTE "id" is the item. These are statistics
as a service keeps them, in real time: of events of all parts of the log, joined
point in time, so that nothing at the moment m or later counts, of no user, nor
anything of the request itself. m is the time of the request; behind a frozen
history it is where that ends. Parts must not overlap in time, or training would
be told of what others did in the test part: leave-one-out is refused.
(recent.py counts the training part alone, and who asks behind it is told of its
last days.) What is said to have come later of an event does not count, for
nobody knew it then. Events of unknown times do not count. An item whose
attribute is missing has none: NaN.
"""

from collections.abc import Callable
import dataclasses
import re

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.event_index import EventIndex
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.features.affinity import ID, value_codes
from genrec_jax.data.features.moments import Clock, Moments
from genrec_jax.data.splits import LeaveOneOut

_SECONDS = {"h": 3_600, "d": 86_400}


@dataclasses.dataclass(frozen=True, eq=False)
class LoggedEvents:
  """All events of known times, user by user.

  Attributes:
    times_E: seconds since the data set's epoch.
    items_E: of the events.
    done_E: what was done, a bit per task.
    tasks: their names.
  """

  times_E: Int[np.ndarray, "E"]
  items_E: Int[np.ndarray, "E"]
  done_E: Int[np.ndarray, "E"]
  tasks: tuple[str, ...]

  @classmethod
  def of(
    cls, histories: HistorySource, feedback: BoundFeedback
  ) -> "LoggedEvents":
    """Of a prepared data set.

    Raises:
      ValueError: it has no times, or parts that overlap in time.
    """
    if isinstance(histories.split, LeaveOneOut):
      raise ValueError(
        "features window.* tell training of other users' test events, which"
        " under data.LeaveOneOut may be earlier: split by data.GlobalTime, or"
        " take recent.ATTRIBUTE.DAYS, of the training part alone."
      )
    parts = [(np.zeros(0, np.int32),) * 3]
    for user in range(len(histories)):
      record = histories[user]
      if "time" not in record:
        raise ValueError(
          "the data set has no times, and nothing says what was known at a"
          " request: map a timestamp column."
        )
      keep = ~feedback.untimed(record)
      columns = record["time"], record["item"], feedback.done(record)
      parts.append(tuple(column[keep] for column in columns))
    found = (np.concatenate(x) for x in zip(*parts, strict=True))
    return cls(*found, feedback.tasks)


def window(
  field: str, attributes: pl.DataFrame, num_items: int, events: LoggedEvents
) -> Callable[..., Float[np.ndarray, "n"]]:
  """The function of a feature: (moments, clock, feedback) -> values.

  Args:
    field: ATTRIBUTE.SPAN or ATTRIBUTE.SPAN.TASK.
    attributes: of items 1, 2, ... in order.
    num_items: V.
    events: of all users.

  Raises:
    ValueError: no span, an attribute that items lack, or an unknown task.
  """
  found = re.fullmatch(r"(.+?)\.([1-9]\d*)([hd])(?:\.(.+))?", field)
  if found is None:
    raise ValueError(
      f"feature window.{field} must be window.ATTRIBUTE.SPAN or"
      " window.ATTRIBUTE.SPAN.TASK, such as window.id.6h or window.id.7d.click."
    )
  name, count, unit, task = found.groups()
  for wrong, choices, kind in (
    (name, [ID, *attributes.columns], "attribute of items"),
    (task, [None, *events.tasks], "task"),
  ):
    if wrong not in choices:
      raise ValueError(
        f"there is no {kind} {wrong!r}, of feature window.{field}."
        + choices_hint(wrong, [x for x in choices if x])
      )
  span = int(count) * _SECONDS[unit]
  codes_V1 = value_codes(name, attributes, num_items)
  bit = 0 if task is None else events.tasks.index(task)
  index = EventIndex.of(
    codes_V1[events.items_E], events.times_E, done=events.done_E >> bit & 1
  )
  # Done before each place; the last entry of a column belongs to no event.
  done_E1 = np.append(0, np.cumsum(index.columns["done"][:-1]))

  def value(moments: Moments, clock: Clock, feedback: BoundFeedback):
    del clock, feedback
    if moments.times is None:
      return np.full(len(moments.ends), np.nan)
    mine_N = codes_V1[moments.items]
    until_N = moments.known_until.astype(np.int64)
    low, high = (index.ends(mine_N, t) for t in (until_N - span, until_N))
    there_N = (high - low).astype(np.float64)
    known_N = mine_N > 0
    if task is None:
      return np.where(known_N, there_N, np.nan)
    known_N &= there_N > 0
    done_N = done_E1[high] - done_E1[low]
    return np.where(known_N, done_N / np.maximum(there_N, 1), np.nan)

  return value
