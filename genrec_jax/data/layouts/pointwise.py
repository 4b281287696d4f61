# SPDX-License-Identifier: Apache-2.0
"""Impressions as rows of features: what pointwise rankers learn from.

One position per labelled event of the training part, each with features of its
item, user and moment, and the user's last events before its request:

    item_BL  user_BL  time_BL  query_time_BL  segment_ids_BL  positions_BL
    label_BL  labelled_BL          bit masks of tasks; 1 where a loss counts
    features_BLF                   rows of each feature's table
    history_item_BLH  history_action_BLH  history_features_BLHG
                                   oldest first, right padded; action: bit mask
    history_seconds_BLH            where asked for (history_window.py)
    user_vectors_BLQE ...          with `vectors`: vector_columns.py

and, where it is asked for, query_BL: the item whose text is what the request
looked for (queries.py), 0 = none.

Positions do not see each other: an example is up to max_length of a user's
labelled events, so that one decoded record serves them all, and a user with
more makes several examples.

With `one_request` an example is what was shown together, at most max_length of
it, and a row holds one example: its positions have one history, which is there
once, (B, 1, H). A model must read it so (core/seams.py: LongHistoryModel).
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.types import ItemData
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
  check_item_content,
  item_data,
  named_columns,
  seconds_of,
)
from genrec_jax.data.layouts.checked_features import check_features
from genrec_jax.data.layouts.history_window import (
  HistoryWindow,
  LengthSampler,
)
from genrec_jax.data.layouts.labelled_events import (
  FIRST,
  LabelledEvents,
  labelled,
)
from genrec_jax.data.layouts.queries import QuerySource
from genrec_jax.data.layouts.request_examples import ASKED, RequestExamples
from genrec_jax.data.layouts.vector_columns import VectorColumns
from genrec_jax.data.schema import Record

_COLUMNS = ("item", "user", "time", "query_time", "label", "labelled")
_QUERY = "query"


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
    history_group: what a window's first event is a multiple of.
    history_seconds: how long ago events were, before the "request" or after
      the event "before"; "" = not told.
    stochastic_length: trains on a part of most long histories; requests are
      always whole. None = always whole.
    one_request: see the module docstring.
    num_candidates: positions of a request when scoring.
    utc_offset_hours: of the clock of hours and weekdays.
    vectors: that others have made, beside the features; None = nothing.
    since: ISO date; what requests before it showed is history alone. None =
      all of the training part is asked about.
    query: where a request's query comes from; None = there is none.
    item_content: what models that read what items are are given: "vectors" of
      texts, or "text_tokens"; None = they read features alone.
    fitted, bound_shown, since_seconds, item_data: set by `bind`.
  """

  features: tuple[Feature, ...]
  history_features: tuple[str, ...]
  feedback: Feedback
  max_length: int
  history_length: int
  num_candidates: int
  utc_offset_hours: float = 0.0
  history_group: int = 1
  history_seconds: str = ""
  stochastic_length: LengthSampler | None = None
  one_request: bool = False
  shown: Feedback | None = None
  vectors: VectorColumns | None = None
  since: str | None = None
  query: QuerySource | None = None
  item_content: str | None = None
  fitted: FittedFeatures | None = None
  bound_shown: BoundFeedback | None = None
  since_seconds: int | None = None
  item_data: Callable[[], ItemData] | None = None

  def __post_init__(self):
    if self.item_content is not None:
      check_item_content(self.item_content)
    if self.query is not None:
      where = "config.pipeline.layout.query"
      seams.require(self.query, QuerySource, where)
    for name in ("max_length", "history_length", "num_candidates"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
    # Say what is wrong with the names, and with the history.
    _ = self.feature_set, self.window

  @functools.cached_property
  def feature_set(self) -> FeatureSet:
    """The features, and how they are looked up."""
    return FeatureSet(
      self.features, self.history_features, self.utc_offset_hours, self.fitted
    )

  @functools.cached_property
  def window(self) -> HistoryWindow:
    """Which events are shown, and what of them."""
    return HistoryWindow(
      self.history_length,
      self.history_group,
      self.history_seconds,
      self.stochastic_length,
    )

  @property
  def num_columns(self) -> int:
    """Columns of an Example: shared ones, the history, context features,
    and which vectors the user has."""
    vectors = 0 if self.vectors is None else self.vectors.num_columns
    return self._vectors_start + vectors

  @property
  def max_segments(self) -> int | None:
    """Examples that share a row at most."""
    return 1 if self.one_request else None

  @property
  def _shared(self) -> tuple[str, ...]:
    """Columns of one number, in front."""
    return _COLUMNS if self.query is None else (*_COLUMNS, _QUERY)

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
  def request_columns(self) -> tuple[int, ...]:
    """Places of the features of user and moment."""
    return self.feature_set.request_columns

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
    check_features(self, system)

  def bind(self, artifacts: LayoutArtifacts) -> "PointwiseRows":
    """The layout with encoders fitted on the data set's training part."""
    actions = artifacts.histories.manifest.actions
    fitted = self.feature_set.bind(
      artifacts.histories, artifacts.catalog, self.feedback.bind(actions)
    ).fitted
    shown = (self.shown or self.feedback).bind(actions)
    since = data = query = None
    if self.since is not None:
      epoch = artifacts.histories.manifest.epoch_seconds
      since = seconds_of(self.since, "since", epoch)
    if self.item_content is not None:
      data = item_data(artifacts, self.item_content)
    if self.query is not None:
      query = self.query.bind(actions)
    return dataclasses.replace(
      self,
      fitted=fitted,
      bound_shown=shown,
      vectors=self.vectors and self.vectors.bind(artifacts),
      query=query,
      since_seconds=since,
      item_data=data,
    )

  def init_data(self) -> Int[np.ndarray, "V1 G"] | ItemData:
    """What is known of the items: their content where item_content says so,
    else table rows of their features, by item id."""
    return self.fitted.items if self.item_data is None else self.item_data()

  def source(self, histories: HistorySource) -> HistorySource:
    """Examples: up to max_length labelled events of a user or a request."""
    if self.one_request:
      return RequestExamples(
        histories,
        self.fitted.feedback,
        num_candidates=self.max_length,
        since=self.since_seconds,
      )
    return LabelledEvents(
      histories, self.fitted.feedback, self.max_length, self.since_seconds
    )

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Rows of labelled events among the first `end`, from "first" on.

    Args:
      record: of `source`.
      end: events that may be seen.
      rng: draws what stochastic_length keeps; None keeps all.
    """
    feedback = self.fitted.feedback
    if ASKED in record:
      events = record[ASKED]
    else:
      events = labelled(record, feedback, end, self.since_seconds)
      events = events[int(record.get(FIRST, 0)) :]
    events = events[: self.max_length]
    rows = np.zeros((len(events), self.num_columns), np.int32)
    moments = Moments.of_events(record, events)
    rows[:, 0] = record["item"][events]
    rows[:, 1] = record["user"]
    if moments.times is not None:
      rows[:, 2] = rows[:, 3] = moments.times
    rows[:, 4] = feedback.bits(record)[events]
    rows[:, 5] = 1
    if self.query is not None:
      rows[:, len(_COLUMNS)] = self.query.of_moments(moments)
    self._before(rows, moments, int(record["user"]), rng)
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and looks features up; all int32."""
    batch = named_columns(rows_BLC, segment_ids_BL, self._shared)
    batch["positions_BL"] = positions_BL.astype(np.int32)
    start, end = self._context_start, self._vectors_start
    histories = 1 if self.one_request else rows_BLC.shape[1]
    told = self.window.split(rows_BLC[:, :histories, len(self._shared) : start])
    batch |= {f"history_{name}_BLH": x for name, x in told.items()}
    batch["history_features_BLHG"] = self.feature_set.of_events(told["item"])
    user = np.where(segment_ids_BL > 0, batch["user_BL"], -1)
    batch["features_BLF"] = self.feature_set.asked(
      batch["item_BL"], user, rows_BLC[:, :, start:end]
    )
    if self.vectors is not None:
      batch |= self.vectors.batch(rows_BLC[:, :, end:], batch["item_BL"])
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
        # A row that asks nothing is nobody's.
        user = int(impressions.user[row]) if valid[row].any() else -1
        self._before(rows[row], asked, user)
    self._ask(rows, impressions.history, impressions.query)
    rows *= valid[:, :, None]
    positions = np.arange(shape[1], dtype=np.int32)[None, :] * valid
    return self.batch(rows, valid.astype(np.int32), positions)

  def apart(
    self, batch: Mapping[str, np.ndarray]
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The first position, whose history is everybody's; and all features."""
    asked = {k: v for k, v in batch.items() if not k.startswith("history_")}
    return {k: v[:, :1] for k, v in batch.items()}, asked

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
        user = int(requests.user[row])
        self._before(rows[row], asked, user)
    self._ask(rows, requests.history, np.zeros(count, np.int32))
    ones = np.ones((count, 1), np.int32)
    return self.batch(rows, ones, ones - 1)

  @property
  def _context_start(self) -> int:
    """Column behind those of the history."""
    return len(self._shared) + self.window.num_columns

  @property
  def _vectors_start(self) -> int:
    """Column behind those of the moment's features."""
    return self._context_start + self.feature_set.num_moment

  def _ask(
    self,
    rows: np.ndarray,
    history: list[Record],
    query_B: Int[np.ndarray, "B"],
  ) -> None:
    """Fills in what requests look for, of which the query is known or none."""
    if self.query is not None and self.fitted is not None:
      asked_B = self.query.asked(history, query_B)
      rows[:, :, len(_COLUMNS)] = asked_B[:, None]

  def _before(
    self,
    rows: np.ndarray,
    moments: Moments,
    user: int,
    rng: np.random.Generator | None = None,
  ) -> None:
    """Fills in the columns after the shared ones: what came before."""
    start, end = self._context_start, self._vectors_start
    # A history that a row has once stands with its first position.
    histories = rows[:1] if self.one_request else rows
    shown = histories[:, len(self._shared) : start]
    self.window.fill(shown, moments, self.bound_shown, rng)
    rows[:, start:end] = self.feature_set.of_moments(moments)
    if self.vectors is not None:
      rows[:, end:] = self.vectors.rows(user, moments.times, moments.ends)
