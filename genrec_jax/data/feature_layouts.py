# SPDX-License-Identifier: Apache-2.0
"""Impressions as rows of features: what pointwise rankers learn from.

One position per labelled event of the training part, each with features of its
item, user and moment, and the user's last events before its request:

    item_BL  user_BL  time_BL  query_time_BL  segment_ids_BL  positions_BL
    label_BL  labelled_BL          bit masks of tasks; 1 where a loss counts
    features_BLF                   rows of each feature's table
    history_item_BLH  history_action_BLH  history_features_BLHG
                                   oldest first, right padded; action: bit mask

Positions do not see each other: an example is up to max_length of a user's
labelled events, so that one decoded record serves them all, and a user with
more makes several examples.
"""

import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.data.catalog import Users
from genrec_jax.data.features import (
  Feature,
  FittedFeatures,
  fit_features,
)
from genrec_jax.data.feedback import BoundFeedback, Feedback
from genrec_jax.data.histories import HistorySource
from genrec_jax.data.impressions import Impressions
from genrec_jax.data.labelled_events import FIRST, LabelledEvents, labelled
from genrec_jax.data.layouts import Layout
from genrec_jax.data.moments import Clock, Moments
from genrec_jax.data.requests import Requests
from genrec_jax.data.schema import Record

# The record of a user who has done nothing.
_NO_EVENTS = {
  "item": np.zeros(0, np.int32),
  "time": np.zeros(0, np.int32),
  "action": np.zeros(0, np.int32),
  "value": np.zeros(0, np.float32),
}
_COLUMNS = ("item", "user", "time", "query_time", "label", "labelled")


@dataclasses.dataclass(frozen=True)
class PointwiseRows(Layout):
  """See the module docstring.

  Attributes:
    features: F of them, in the order of features_BLF.
    history_features: names of G item features that history events have too.
    feedback: what the labels are.
    shown: what is told of history events; None = the same.
    max_length: labelled events of an example at most.
    history_length: H, events before the request that are shown.
    num_candidates: positions of a request when scoring.
    utc_offset_hours: of the clock of hours and weekdays.
    fitted, bound_shown: set by `bind`.
  """

  features: tuple[Feature, ...]
  history_features: tuple[str, ...]
  feedback: Feedback
  max_length: int
  history_length: int
  num_candidates: int
  utc_offset_hours: float = 0.0
  shown: Feedback | None = None
  fitted: FittedFeatures | None = None
  bound_shown: BoundFeedback | None = None

  def __post_init__(self):
    names = [f.of for f in self.features]
    if len(set(names)) < len(names):
      raise ValueError(f"features {names} name one twice; name each once.")
    items = [f.of for f in self.features if f.side == "item"]
    wrong = [name for name in self.history_features if name not in items]
    if wrong:
      raise ValueError(
        f"history_features has {wrong[0]!r}: choose among the item features,"
        f" {', '.join(items) or 'of which there are none'}."
      )
    for name in ("max_length", "history_length", "num_candidates"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")

  @property
  def num_columns(self) -> int:
    """Columns of an Example: shared ones, history twice, context features."""
    context = len(self._places("context"))
    return len(_COLUMNS) + 2 * self.history_length + context

  @property
  def feature_rows(self) -> tuple[int, ...]:
    """Rows of each feature's table."""
    return tuple(f.encoder.rows for f in self.features)

  @property
  def history_columns(self) -> tuple[int, ...]:
    """Places of history_features among the features."""
    names = [f.of for f in self.features]
    return tuple(names.index(name) for name in self.history_features)

  @property
  def item_columns(self) -> tuple[int, ...]:
    """Places of the items' features among all."""
    return tuple(self._places("item"))

  @property
  def num_actions(self) -> int:
    """Bits of history_action_BLH."""
    return (self.shown or self.feedback).num_tasks

  @property
  def num_tasks(self) -> int:
    """Bits of label_BL."""
    return self.feedback.num_tasks

  def check_system(self, system: Any) -> None:
    """Raises a ValueError where a system is built for other features."""
    names = ("feature_rows", "history_columns", "num_actions", "num_tasks")
    if hasattr(system, "item_columns"):
      names += ("item_columns",)
    for name in names:
      theirs, own = getattr(system, name, None), getattr(self, name)
      if theirs != own:
        raise ValueError(
          f"config.system.{name}={theirs}, and the features of"
          f" config.pipeline.layout make it {own}: set it to that."
        )

  def bind(self, artifacts: Any) -> "PointwiseRows":
    """The layout with encoders fitted on the data set's training part."""
    histories = artifacts.histories
    actions = histories.manifest.actions
    fitted = fit_features(
      self.features,
      self.feedback.bind(actions),
      histories,
      artifacts.catalog,
      Users(histories.directory),
      Clock(histories.manifest.epoch_seconds, self.utc_offset_hours),
    )
    shown = (self.shown or self.feedback).bind(actions)
    return dataclasses.replace(self, fitted=fitted, bound_shown=shown)

  def init_data(self) -> Int[np.ndarray, "V1 G"]:
    """Table rows of the items' features, by item id."""
    return self.fitted.items

  def source(self, histories: HistorySource) -> HistorySource:
    """Examples: up to max_length labelled events of a user."""
    return LabelledEvents(histories, self.fitted.feedback, self.max_length)

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Rows of labelled events among the first `end`, from "first" on."""
    del rng
    feedback = self.fitted.feedback
    events = labelled(record, feedback, end)[int(record.get(FIRST, 0)) :]
    events = events[: self.max_length]
    rows = np.zeros((len(events), self.num_columns), np.int32)
    moments = Moments.of_events(record, events)
    rows[:, 0] = record["item"][events]
    rows[:, 1] = record["user"]
    if moments.times is not None:
      rows[:, 2] = rows[:, 3] = moments.times
    rows[:, 4] = feedback.bits(record)[events]
    rows[:, 5] = 1
    self._before(rows[:, len(_COLUMNS) :], moments)
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and looks features up; all int32."""
    batch = {
      f"{name}_BL": np.ascontiguousarray(rows_BLC[:, :, place])
      for place, name in enumerate(_COLUMNS)
    }
    batch["segment_ids_BL"] = segment_ids_BL.astype(np.int32)
    batch["positions_BL"] = positions_BL.astype(np.int32)
    item, action, context = np.split(
      rows_BLC[:, :, len(_COLUMNS) :],
      [self.history_length, 2 * self.history_length],
      axis=2,
    )
    batch["history_item_BLH"] = np.ascontiguousarray(item)
    batch["history_action_BLH"] = np.ascontiguousarray(action)
    places = np.searchsorted(self._places("item"), self.history_columns)
    batch["history_features_BLHG"] = self._of("items", "item", item)[
      ..., places
    ]
    features = np.zeros((*context.shape[:2], len(self.features)), np.int32)
    user = np.where(segment_ids_BL > 0, batch["user_BL"] + 1, 0)
    features[..., self._places("item")] = self._of(
      "items", "item", batch["item_BL"]
    )
    features[..., self._places("user")] = self._of("users", "user", user)
    features[..., self._places("context")] = context
    batch["features_BLF"] = features
    return batch

  def impression_batch(self, impressions: Impressions) -> dict[str, np.ndarray]:
    """One row per request, its candidates side by side; labels are 0."""
    shape = impressions.candidates.shape
    rows = np.zeros((*shape, self.num_columns), np.int32)
    valid = impressions.candidates > 0
    rows[:, :, 0] = impressions.candidates
    rows[:, :, 1] = impressions.user[:, None]
    rows[:, :, 2] = rows[:, :, 3] = impressions.query_time[:, None]
    for row, record in enumerate(impressions.history):
      if self.fitted is not None:
        asked = impressions.query_time[row : row + 1]
        before = self._at_end(record, asked)
        rows[row, :, len(_COLUMNS) :] = before[None, :]
    rows *= valid[:, :, None]
    positions = np.arange(shape[1], dtype=np.int32)[None, :] * valid
    return self.batch(rows, valid.astype(np.int32), positions)

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One position per request: its user and moment, and no item."""
    count = len(requests)
    rows = np.zeros((count, 1, self.num_columns), np.int32)
    rows[:, 0, 1] = requests.user
    rows[:, 0, 2] = rows[:, 0, 3] = requests.query_time
    for row, record in enumerate(requests.history):
      if self.fitted is not None:
        asked = requests.query_time[row : row + 1]
        rows[row, 0, len(_COLUMNS) :] = self._at_end(record, asked)
    ones = np.ones((count, 1), np.int32)
    return self.batch(rows, ones, ones - 1)

  def _at_end(self, record: Record, query_time: Int[np.ndarray, "1"]):
    """Those of a record's end; the record may have no event at all."""
    if not len(record["item"]):
      record = _NO_EVENTS
    if self.fitted.clock.epoch_seconds is None:
      query_time = None
    ends = np.array([len(record["item"])])
    row = np.zeros((1, self.num_columns - len(_COLUMNS)), np.int32)
    self._before(row, Moments(record, ends, query_time))
    return row[0]

  def _before(self, rows: np.ndarray, moments: Moments) -> None:
    """Fills in the columns after the shared ones: what came before."""
    length = self.history_length
    bits = self.bound_shown.bits(moments.record)
    for row, end in zip(rows, moments.ends, strict=True):
      last = slice(max(0, end - length), end)
      count = last.stop - last.start
      row[:count] = moments.record["item"][last]
      row[length : length + count] = bits[last]
    rows[:, 2 * length :] = self.fitted.context(moments)

  def _places(self, side: str) -> list[int]:
    """Places of a side's features among all."""
    return [i for i, f in enumerate(self.features) if f.side == side]

  def _of(self, table: str, side: str, ids: np.ndarray) -> np.ndarray:
    """A side's features by id; zeros where unbound: shapes are known."""
    if self.fitted is None:
      return np.zeros((*ids.shape, len(self._places(side))), np.int32)
    return getattr(self.fitted, table)[ids]
