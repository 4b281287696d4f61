# SPDX-License-Identifier: Apache-2.0
"""A condition in front of every item that was taken: c_1 i_1 c_2 i_2 ...

    item_BL          0 at a condition
    condition_BLP    rows of the condition's parts (conditions.py); 0 at items
    label_BL         at c_l the item i_l; 0 at items: nothing predicts a
                     condition, and an item asks for nothing
    time_BL  query_time_BL  user_BL  segment_ids_BL  positions_BL

What is asked at c_l sees all conditions and items before it, and c_l. A request
is a history and one condition more, of its time. To ask many queries of a user
at once, a batch has the history alone, and beside it

    asked_condition_BQP   asked_time_BQ

which share its next position and see it, and not each other.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.layouts.base import (
  BaseLayout,
  LayoutArtifacts,
  named_columns,
  seconds_of,
)
from genrec_jax.data.layouts.conditions import Conditions
from genrec_jax.data.layouts.request_events import measurable
from genrec_jax.data.schema import Record

_WHERE = "config.pipeline.layout"
_COLUMNS = ("item", "label", "time", "query_time", "user")
_NEVER = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class ConditionItems(BaseLayout):
  """See the module docstring.

  Attributes:
    taken: an event is of the sequence where any of these tasks was done.
    conditions: what stands before an item, and what is asked.
    features: what a model is told of items, beside their id; of items alone.
    max_events: L, the last events that are kept: 2 L tokens.
    until: ISO date; events from then on are not trained on. None = the whole
      training part.
    bound_taken: set by `bind`.
    until_seconds: likewise, since the data set's epoch.
  """

  taken: Feedback
  conditions: Conditions
  features: FeatureSet
  max_events: int
  until: str | None = None
  bound_taken: BoundFeedback | None = None
  until_seconds: int = _NEVER

  def __post_init__(self):
    check_counts(self, _WHERE, "max_events")
    wrong = [f.of for f in self.features.features if f.side != "item"]
    if wrong or not self.features.features:
      raise ValueError(
        f"{_WHERE}.features must be of items, such as item.id, at least one;"
        f" got {', '.join(wrong) or 'none'}."
      )

  @property
  def num_columns(self) -> int:
    """Columns of an Example."""
    return len(_COLUMNS) + len(self.conditions.parts)

  @property
  def max_length(self) -> int:
    """Tokens of the longest request."""
    return 2 * self.max_events + 1

  @property
  def queries(self) -> tuple[str, ...]:
    """Names of what is asked of every user."""
    return self.conditions.queries

  def bind(self, artifacts: LayoutArtifacts) -> "ConditionItems":
    """The layout with what a data set's actions, items and times mean.

    Raises:
      ValueError: as Conditions.bind; `until` of data without times.
    """
    histories, until = artifacts.histories, self.until_seconds
    taken = self.taken.bind(histories.manifest.actions)
    if self.until is not None:
      until = seconds_of(self.until, "until", histories.manifest.epoch_seconds)
    return dataclasses.replace(
      self,
      conditions=self.conditions.bind(artifacts, taken),
      features=self.features.bind(histories, artifacts.catalog, taken),
      bound_taken=taken,
      until_seconds=until,
    )

  def init_data(self) -> Int[np.ndarray, "V1 G"]:
    """Table rows of the items' features, by item id."""
    return self.features.fitted.items

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a system is built for other tables."""
    seams.require(system, seams.ConditionModel, "config.system")
    own = {
      "condition_rows": self.conditions.rows,
      "item_rows": self.features.rows,
    }
    for name, value in own.items():
      theirs = getattr(system, name)
      if tuple(theirs) != value:
        raise ValueError(
          f"config.system.{name}={theirs}, and {_WHERE} makes it {value}: set"
          " it to that."
        )

  def trained_until(self, histories: HistorySource) -> int:
    """Time of the latest event that is trained on, since the epoch.

    Raises:
      ValueError: there is none, or the data have no times.
    """
    last = []
    for user in range(len(histories)):
      record = histories[user]
      events = self._events(record, histories.split.train_end(record))
      if "time" in record and len(events):
        last.append(int(record["time"][events].max()))
    if not last:
      raise ValueError(
        "no event of the training part with a time is one of"
        f" {', '.join(self.taken.tasks)}"
        + (f" before {self.until}" if self.until else "")
        + ": nothing says until when a model of it knows the log."
      )
    return max(last)

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of the last events among the first `end`; none without any."""
    events = self._events(record, end)[-self.max_events :]
    rows = self._rows(record, events, rng)
    rows[::2, 1] = record["item"][events]
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows; all int32."""
    batch = named_columns(rows_BLC, segment_ids_BL, _COLUMNS)
    batch["positions_BL"] = positions_BL.astype(np.int32)
    conditions = rows_BLC[:, :, len(_COLUMNS) :]
    return batch | {"condition_BLP": np.ascontiguousarray(conditions)}

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: a history, and a condition of the request's time."""
    return self._of_requests(requests, self.max_length, ask=True)

  def asking_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: a history, and all queries beside it."""
    batch = self._of_requests(requests, 2 * self.max_events, ask=False)
    asked_QP = self.conditions.asked()
    shape = (len(requests), len(asked_QP))
    time_B1 = measurable(requests.query_time[:, None])
    return batch | {
      "asked_condition_BQP": np.broadcast_to(
        asked_QP[None], (*shape, asked_QP.shape[1])
      ).copy(),
      "asked_time_BQ": np.broadcast_to(time_B1, shape).copy(),
    }

  def _of_requests(
    self, requests: Requests, length: int, *, ask: bool
  ) -> dict[str, np.ndarray]:
    """Histories, right padded; with `ask` one condition behind each."""
    shape = (len(requests), length)
    rows = np.zeros((*shape, self.num_columns), np.int32)
    segments = np.zeros(shape, np.int32)
    for b, record in enumerate(requests.history):
      found = np.zeros((0, self.num_columns), np.int32)
      if len(record["item"]):
        events = self._events(record, len(record["item"]), trains=False)
        found = self._rows(record, events[-self.max_events :], None)
      count = len(found)
      rows[b, :count] = found
      if ask:
        seconds = int(requests.query_time[b])
        rows[b, count, 2:4] = measurable(np.array([seconds]))
        rows[b, count, len(_COLUMNS) :] = self.conditions.of_moment(seconds)
        count += 1
      rows[b, :count, 4] = requests.user[b]
      segments[b, :count] = 1
    places = np.arange(length, dtype=np.int32)[None]
    return self.batch(rows, segments, np.where(segments > 0, places, 0))

  def _events(
    self, record: Record, end: int, *, trains: bool = True
  ) -> Int[np.ndarray, "n"]:
    """Which of the first `end` events are of the sequence."""
    if self.bound_taken is None:
      return np.zeros(0, np.int64)
    events = np.flatnonzero(self.bound_taken.done(record)[:end])
    if trains and self.until_seconds < _NEVER:
      events = events[record["time"][events] < self.until_seconds]
    return events

  def _rows(
    self,
    record: Record,
    events: Int[np.ndarray, "n"],
    rng: np.random.Generator | None,
  ) -> Int[np.ndarray, "m C"]:
    """Two tokens of each event, without labels."""
    rows = np.zeros((2 * len(events), self.num_columns), np.int32)
    conditions, items = rows[::2], rows[1::2]
    items[:, 0] = record["item"][events]
    if "time" in record and len(events):
      untimed = self.bound_taken.untimed(record)[events]
      time = np.where(untimed, UNKNOWN_TIME, record["time"][events])
      rows[:, 2] = rows[:, 3] = np.repeat(measurable(time), 2)
    rows[:, 4] = record["user"]
    found = self.conditions.of_events(record, events)
    conditions[:, len(_COLUMNS) :] = self.conditions.hide(found, rng)
    return rows
