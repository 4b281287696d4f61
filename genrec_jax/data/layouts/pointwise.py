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
import functools

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.features import Feature, FittedFeatures
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.layouts.base import (
  BaseLayout,
  LayoutArtifacts,
  named_columns,
)
from genrec_jax.data.layouts.labelled_events import (
  FIRST,
  LabelledEvents,
  labelled,
)
from genrec_jax.data.schema import Record

_COLUMNS = ("item", "user", "time", "query_time", "label", "labelled")


@dataclasses.dataclass(frozen=True)
class PointwiseRows(BaseLayout):
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
    for name in ("max_length", "history_length", "num_candidates"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
    # Says what is wrong with the names.
    _ = self.feature_set

  @functools.cached_property
  def feature_set(self) -> FeatureSet:
    """The features, and how they are looked up."""
    return FeatureSet(
      self.features, self.history_features, self.utc_offset_hours, self.fitted
    )

  @property
  def num_columns(self) -> int:
    """Columns of an Example: shared ones, history twice, context features."""
    context = self.feature_set.num_moment
    return len(_COLUMNS) + 2 * self.history_length + context

  @property
  def feature_rows(self) -> tuple[int, ...]:
    """Rows of each feature's table."""
    return self.feature_set.rows

  @property
  def history_columns(self) -> tuple[int, ...]:
    """Places of history_features among the features."""
    return self.feature_set.history_columns

  @property
  def vector_names(self) -> tuple[str, ...]:
    """Of the features, and "history.NAME" of those that events have too."""
    history = (f"history.{name}" for name in self.history_features)
    return (*(f.of for f in self.features), *history)

  @property
  def item_columns(self) -> tuple[int, ...]:
    """Places of the items' features among all."""
    return self.feature_set.item_columns

  @property
  def audience_columns(self) -> tuple[int, ...]:
    """Places of what is told of the users who met an item: here, nothing."""
    return ()

  @property
  def num_actions(self) -> int:
    """Bits of history_action_BLH."""
    return (self.shown or self.feedback).num_tasks

  @property
  def num_tasks(self) -> int:
    """Bits of label_BL."""
    return self.feedback.num_tasks

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a system is built for other features."""
    seams.require(system, seams.RowModel, "config.system")
    names = seams.members(seams.RowModel)
    if seams.offers(system, seams.TowerModel):
      names += ("item_columns",)
      for feature in self.features:
        if feature.side == "affinity":
          raise ValueError(
            f"{feature.of} is of user and item together, which config.system"
            " reads apart: leave it out of config.pipeline.layout.features."
          )
    if seams.offers(system, seams.AudienceModel):
      names += ("audience_columns",)
    for name in names:
      theirs, own = getattr(system, name), getattr(self, name)
      if theirs != own:
        raise ValueError(
          f"config.system.{name}={theirs}, and the features of"
          f" config.pipeline.layout make it {own}: set it to that."
        )
    if seams.offers(system, seams.NamedVectorModel):
      theirs = system.vector_names
      if theirs is not None and theirs != self.vector_names:
        raise ValueError(
          f"config.system.interactions names the features {theirs}, and those"
          f" of config.pipeline.layout are {self.vector_names}: set them to"
          " these."
        )

  def bind(self, artifacts: LayoutArtifacts) -> "PointwiseRows":
    """The layout with encoders fitted on the data set's training part."""
    actions = artifacts.histories.manifest.actions
    fitted = self.feature_set.bind(
      artifacts.histories, artifacts.catalog, self.feedback.bind(actions)
    ).fitted
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
    batch = named_columns(rows_BLC, segment_ids_BL, _COLUMNS)
    batch["positions_BL"] = positions_BL.astype(np.int32)
    item, action, context = np.split(
      rows_BLC[:, :, len(_COLUMNS) :],
      [self.history_length, 2 * self.history_length],
      axis=2,
    )
    batch["history_item_BLH"] = np.ascontiguousarray(item)
    batch["history_action_BLH"] = np.ascontiguousarray(action)
    batch["history_features_BLHG"] = self.feature_set.of_events(item)
    user = np.where(segment_ids_BL > 0, batch["user_BL"], -1)
    batch["features_BLF"] = self.feature_set.asked(
      batch["item_BL"], user, context
    )
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
        asked = Moments.after(
          record,
          int(impressions.query_time[row]),
          impressions.candidates[row],
          int(impressions.known_until[row]),
        )
        self._before(rows[row, :, len(_COLUMNS) :], asked)
    rows *= valid[:, :, None]
    positions = np.arange(shape[1], dtype=np.int32)[None, :] * valid
    return self.batch(rows, valid.astype(np.int32), positions)

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One position per request: its user and moment, and no item."""
    count = len(requests)
    rows = np.zeros((count, 1, self.num_columns), np.int32)
    rows[:, 0, 1] = requests.user
    rows[:, 0, 2] = rows[:, 0, 3] = requests.query_time
    nothing = np.zeros(1, np.int32)
    for row, record in enumerate(requests.history):
      if self.fitted is not None:
        asked = Moments.after(record, int(requests.query_time[row]), nothing)
        self._before(rows[row, :, len(_COLUMNS) :], asked)
    ones = np.ones((count, 1), np.int32)
    return self.batch(rows, ones, ones - 1)

  def _before(self, rows: np.ndarray, moments: Moments) -> None:
    """Fills in the columns after the shared ones: what came before."""
    length = self.history_length
    bits = self.bound_shown.done(moments.record)
    for row, end in zip(rows, moments.ends, strict=True):
      last = slice(max(0, end - length), end)
      count = last.stop - last.start
      row[:count] = moments.record["item"][last]
      row[length : length + count] = bits[last]
    rows[:, 2 * length :] = self.feature_set.of_moments(moments)
