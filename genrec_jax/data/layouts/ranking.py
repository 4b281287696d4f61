# SPDX-License-Identifier: Apache-2.0
"""What layouts of requests share: a history, then the items asked about.

    context   attributes of the user         CONTEXT, if any
    history   his last events                EVENT, tokens of a subclass
    asked     the items of a request         TARGET

A token may see as many of its example's first tokens as its `limit` says, and
itself; -1 is what its role says. An item that is asked about sees the tokens of
events before its request: neither its own label nor those of the items beside
it. A training target and a candidate of `impression_batch` are the same token,
to the last embedding. With history_loss, items of the history are asked about
as well. Arrays of a batch, all (B, L) int32:

    item action context kind role positions limit request gap time query_time
    label labelled user segment_ids

data/layouts/request_columns.py has them. Tokens of training and of serving,
which must be the same, are made side by side.
"""

import dataclasses
from typing import Any, ClassVar

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.roles import CANDIDATE, TARGET
from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.features.user_tokens import hashed_attributes
from genrec_jax.data.layouts.base import (
  BaseLayout,
  LayoutArtifacts,
  named_columns,
)
from genrec_jax.data.layouts.request_columns import (
  ARRAYS,
  COLUMNS,
  PLACE,
  put,
  put_context,
  with_measurable_times,
)
from genrec_jax.data.layouts.request_events import RequestEvents
from genrec_jax.data.layouts.request_examples import (
  ASKED,
  PIECE,
  RequestExamples,
)
from genrec_jax.data.layouts.vector_columns import VectorColumns, check_reads
from genrec_jax.data.schema import Record


@dataclasses.dataclass(frozen=True)
class RequestLayout(BaseLayout):
  """What the three layouts share; see the module docstring.

  Attributes:
    feedback: what is predicted.
    max_events: most recent events of a history.
    num_candidates: N, items of a request.
    last_requests: requests of a user that are examples; 0 = all.
    history_loss: ask about the events of the history too.
    causal: False lets tokens of a history see all of it.
    shown: actions that the model reads of the past; None = feedback's.
    context: attributes of users that are put in front, one token each.
    context_ids: values are hashed to 1 .. context_ids.
    features: what the head is told of an item that is asked about, beside the
      hidden state, and what tokens tell of their items; None = nothing.
    vectors: likewise what tokens tell of content (vector_columns.py).
    bound_feedback, bound_shown, context_UC: set by `bind`.
  """

  feedback: Feedback
  max_events: int
  num_candidates: int = 1
  last_requests: int = 0
  history_loss: bool = False
  causal: bool = True
  shown: Feedback | None = None
  context: tuple[str, ...] = ()
  context_ids: int = 1000
  features: FeatureSet | None = None
  vectors: VectorColumns | None = None
  bound_feedback: BoundFeedback | None = None
  bound_shown: BoundFeedback | None = None
  context_UC: Int[np.ndarray, "U C"] | None = None

  tokens_per_event: ClassVar[int] = 1
  # The kind of a token that is asked about.
  asked_kind: ClassVar[int] = CANDIDATE
  targets_of_history: ClassVar[bool] = True

  def __post_init__(self):
    for name in ("max_events", "num_candidates", "context_ids"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
    if self.last_requests < 0:
      raise ValueError(
        f"last_requests={self.last_requests} must be positive, or 0 for all."
      )
    if self.history_loss and not self.causal:
      raise ValueError(
        "history_loss=True needs causal=True: where the history sees all of"
        " itself, it sees the labels it is asked for."
      )

  @property
  def num_columns(self) -> int:
    """Columns of an Example: named ones, and features of the moment."""
    return len(COLUMNS) + (self.features.num_moment if self.features else 0)

  @property
  def request_length(self) -> int:
    """Tokens of the longest request."""
    history = self.tokens_per_event * self.max_events
    return len(self.context) + history + self.num_candidates

  @property
  def max_length(self) -> int:
    """Tokens of the longest example."""
    again = self.history_loss and self.targets_of_history
    return self.request_length + self.max_events * again

  def bind(self, artifacts: LayoutArtifacts) -> "RequestLayout":
    """The layout with what actions mean and the attributes of users."""
    actions = artifacts.histories.manifest.actions
    context_UC, bound = None, self.feedback.bind(actions)
    if self.context:
      context_UC = hashed_attributes(
        Users(artifacts.histories.directory).attributes,
        self.context,
        self.context_ids,
      )
    return dataclasses.replace(
      self,
      features=self.features
      and self.features.bind(artifacts.histories, artifacts.catalog, bound),
      vectors=self.vectors and self.vectors.bind(artifacts),
      bound_feedback=bound,
      bound_shown=(self.shown or self.feedback).bind(actions),
      context_UC=context_UC,
    )

  def source(self, histories: HistorySource) -> HistorySource:
    """Requests of the training part."""
    return RequestExamples(
      histories,
      self._bound("bound_feedback"),
      self.num_candidates,
      self.last_requests,
    )

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of a request of `source`; none for any other record."""
    if ASKED not in record:
      return np.zeros((0, self.num_columns), np.int32)
    asked = record[ASKED]
    seen = self.arranged(self._events(record, end), rng)
    time = int(record["time"][end]) if "time" in record else 0
    rows = self._rows(seen, record["item"][asked], time, int(record["user"]))
    labels = self._bound("bound_feedback").bits(record)[asked]
    targets = rows[len(rows) - len(asked) :]
    put(targets, label=labels, labelled=1)
    targets[:, len(COLUMNS) :] = self._moments(record, asked)
    if not self.history_loss or record[PIECE]:
      return with_measurable_times(rows)
    places = np.flatnonzero(seen.asked)
    moments = self._moments(record, seen.event[places])
    return with_measurable_times(
      self._with_history_loss(rows, seen, len(asked), places, moments)
    )

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows; every array is (B, L) int32.

    Positions are the layout's own: what was shown together shares one.
    """
    del positions_BL
    batch = named_columns(rows_BLC, segment_ids_BL, ARRAYS)
    if self.features is not None:
      item_BL = batch["item_BL"]
      user_BL = np.where(segment_ids_BL > 0, batch["user_BL"], -1)
      moments_BLC = rows_BLC[:, :, len(COLUMNS) :]
      batch["features_BLF"] = self.features.asked(item_BL, user_BL, moments_BLC)
      batch["item_features_BLG"] = self.features.of_events(item_BL)
    if self.vectors is not None:
      batch |= self.vectors.batch(rows_BLC, batch["item_BL"])
    return batch

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a system would read less than tokens tell."""
    seams.require(system, seams.RequestModel, "config.system")
    check_reads(system, self.vectors)
    told = self.features or FeatureSet()
    own = {
      "feature_rows": told.rows,
      "history_columns": told.history_columns,
      "num_actions": len((self.shown or self.feedback).tasks),
    }
    if self.context:
      own["context_ids"] = self.context_ids
    if self.asked_kind == CANDIDATE:
      own["unknown_action"] = True
    for name, value in own.items():
      theirs = getattr(system, name)
      if theirs != value:
        raise ValueError(
          f"config.system.{name}={theirs}, and config.pipeline.layout makes it"
          f" {value}: set it to that."
        )

  def impression_batch(self, impressions: Impressions) -> dict[str, np.ndarray]:
    """One row per request: padding, history, then its candidates.

    Candidates are the last N places of a row, so that those before them do not
    depend on how many there are. candidate_BN are their items.
    """
    shown = impressions.candidates.shape[1]
    before = self.request_length - self.num_candidates
    shape = (len(impressions), before + shown)
    rows = np.zeros((*shape, self.num_columns), np.int32)
    segments = np.zeros(shape, np.int32)
    for i, record in enumerate(impressions.history):
      items = impressions.candidates[i]
      real = np.flatnonzero(items)
      seen = self._events(record, len(record["item"]))
      user, time = int(impressions.user[i]), int(impressions.query_time[i])
      mine = with_measurable_times(self._rows(seen, items[real], time, user))
      at = np.concatenate(
        [np.arange(before - (len(mine) - len(real)), before), before + real]
      )
      mine[len(mine) - len(real) :, len(COLUMNS) :] = self._after(
        record, time, items[real]
      )
      rows[i, at], segments[i, at] = mine, 1
    batch = self.batch(rows, segments, segments)
    return {**batch, "candidate_BN": impressions.candidates.astype(np.int32)}

  # What a subclass says: the tokens of events.

  def history(self, seen: RequestEvents) -> Int[np.ndarray, "n C"]:
    """Tokens of events; roles, limits and places are set by the caller."""
    raise NotImplementedError

  def arranged(self, seen: RequestEvents, rng: Any) -> RequestEvents:
    """Events in the order of a training example; here: as they came."""
    del rng
    return seen

  def _events(self, record: Record, end: int) -> RequestEvents:
    return RequestEvents.of(
      record, end, self.max_events, self.bound_feedback, self.bound_shown
    )

  def _rows(
    self, seen: RequestEvents, items, time: int, user: int
  ) -> Int[np.ndarray, "n C"]:
    """Context, history and the items that are asked about at a time."""
    prefix, count = len(self.context), len(seen.item)
    tokens = self.history(seen)
    shape = (prefix + len(tokens) + len(items), self.num_columns)
    rows = np.zeros(shape, np.int32)
    context, targets = rows[:prefix], rows[prefix + len(tokens) :]
    rows[prefix : prefix + len(tokens), : len(COLUMNS)] = tokens
    rows[prefix : prefix + len(tokens), PLACE["positions"]] += prefix
    limits = rows[prefix : prefix + len(tokens), PLACE["limit"]]
    limits[limits >= 0] += prefix
    past = prefix + self.tokens_per_event * count
    if not self.causal:
      limits[:] = past
    if prefix:
      put_context(context)
      if self.context_UC is not None and user >= 0:
        put(context, context=self.context_UC[user])
    put(
      targets,
      item=items,
      kind=self.asked_kind,
      role=TARGET,
      positions=past,
      limit=past,
      time=time,
      query_time=time,
      **self.of_request(seen.num_requests, seen.gap_to(time)),
    )
    put(rows, user=user)
    return rows

  def _with_history_loss(
    self, rows, seen: RequestEvents, asked: int, places, moments
  ):
    """The same example, with a loss on the labelled events of its history."""
    prefix = len(self.context)
    labels = {"label": seen.label[places], "labelled": 1}
    if not self.targets_of_history:
      items = rows[prefix : len(rows) - asked : self.tokens_per_event]
      for name, value in labels.items():
        items[places, PLACE[name]] = value
      items[places, len(COLUMNS) :] = moments
      return rows
    again = np.zeros((len(places), self.num_columns), np.int32)
    again[:, len(COLUMNS) :] = moments
    put(
      again,
      item=seen.item[places],
      kind=self.asked_kind,
      role=TARGET,
      positions=prefix + self.tokens_per_event * seen.first[places],
      limit=prefix + self.tokens_per_event * seen.first[places],
      time=seen.request_time[places],
      query_time=seen.request_time[places],
      user=rows[0, PLACE["user"]],
      **self.of_request(seen.request[places], seen.gap[places]),
      **labels,
    )
    return np.concatenate([rows, again])

  def _moments(self, record: Record, events) -> Int[np.ndarray, "n C"]:
    """Features of the moments at which events were asked about."""
    if self.features is None:
      return np.zeros((len(events), 0), np.int32)
    return self.features.of_moments(Moments.of_events(record, events))

  def _after(self, record: Record, time: int, items) -> Int[np.ndarray, "n C"]:
    """The same of items that are asked about after a whole record."""
    if self.features is None:
      return np.zeros((len(items), 0), np.int32)
    return self.features.of_moments(Moments.after(record, time, items))

  def of_request(self, request, gap) -> dict[str, Any]:
    """What a token tells of its request."""
    return {"request": request, "gap": gap}

  def _bound(self, name: str) -> BoundFeedback:
    bound = getattr(self, name)
    if bound is None:
      raise ValueError(
        "this layout is not bound to a data set: call bind(artifacts) first."
      )
    return bound
