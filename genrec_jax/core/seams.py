# SPDX-License-Identifier: Apache-2.0
"""The seams: what one room may ask of another, as typed Protocols.

    layout      Record -> rows -> Batch                    data/layouts
    backbone    (x_BLD, SequenceInfo) -> h_BLD             backbones
    model       batch -> Outputs, and what else it answers models
    objective   (Outputs, Batch, rng, items) -> loss       objectives
    index       (query_BD, k, allowed) -> ids, scores      retrieval
    search      (requests, k, allowed) -> ids, scores, aux retrieval
    evaluator   a trained run -> a section of its results  evaluation

An object is checked once, where it enters (`require`), with an error that says
what it lacks; nobody below asks whether a method is there. What a model may
answer beside its call are small protocols of their own: a model has those of
what it is for, and `offers` says which.
"""

from collections.abc import Callable, Mapping
import pathlib
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from genrec_jax.core.model_seams import (
  AnsweringModel,
  AskedModel,
  AssumingModel,
  AudienceModel,
  CandidateModel,
  CarryingModel,
  CodesModel,
  ConditionModel,
  ConstantModel,
  DataInitModel,
  DecoderModel,
  EventModel,
  FeatureModel,
  GrammarModel,
  ListModel,
  ListRewardModel,
  LogicalAxes,
  LongHistoryModel,
  Model,
  NamedVectorModel,
  QueryModel,
  RequestModel,
  RowModel,
  ScoreModel,
  SeenModel,
  SharedHistoryModel,
  StepModel,
  TokenizerModel,
  TowerModel,
  VectorModel,
  VectorReader,
)
from genrec_jax.core.offers import is_seam, members, missing, offers, require
from genrec_jax.core.types import Batch, Mean, Outputs, SequenceInfo

__all__ = [
  "ApartLayout",
  "AnsweringModel",
  "AskingLayout",
  "AskedModel",
  "AssumingModel",
  "AudienceModel",
  "Backbone",
  "CandidateModel",
  "CarryingModel",
  "CodesModel",
  "CombinedObjective",
  "ConditionModel",
  "ConstantModel",
  "DataInitLayout",
  "DataInitModel",
  "DecoderModel",
  "Evaluator",
  "EventModel",
  "FeatureModel",
  "GrammarModel",
  "ImpressionLayout",
  "Index",
  "Layout",
  "ListLayout",
  "ListModel",
  "ListRewardModel",
  "LogicalAxes",
  "LongHistoryModel",
  "Model",
  "NO_LIMIT",
  "NamedVectorModel",
  "Objective",
  "QueryModel",
  "RequestModel",
  "RetrievalLayout",
  "RowModel",
  "ScoreModel",
  "Search",
  "SeenModel",
  "SharedHistoryModel",
  "ShowsWeights",
  "Source",
  "Split",
  "StepModel",
  "TaskObjective",
  "TokenizerModel",
  "TowerModel",
  "VectorModel",
  "VectorReader",
  "is_seam",
  "members",
  "missing",
  "offers",
  "require",
]

# The max_length of what tells any number of positions apart.
NO_LIMIT = 2**31 - 1

ArtifactsT = TypeVar("ArtifactsT", contravariant=True)


@runtime_checkable
class Layout(Protocol[ArtifactsT]):
  """How a history becomes model input; shapes are fixed by its options."""

  num_columns: int
  max_length: int
  max_segments: int | None

  def names(self, users: Any, catalog: Any) -> list[str]:
    """What the numbers of a batch's user_BL are called, in messages."""

  def bind(self, artifacts: ArtifactsT) -> "Layout":
    """The same layout with what it needs of the run's artifacts."""

  def check_system(self, system: "Model") -> None:
    """Raises a ValueError where a model does not fit."""

  def source(self, histories: Any) -> Any:
    """The records that examples are made of."""

  def example(
    self, record: Any, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Rows of one record, of which the first `end` events may be seen."""

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows."""


@runtime_checkable
class DataInitLayout(Protocol):
  """A layout that has data for first parameters."""

  def init_data(self) -> Any:
    """What a DataInitModel's data_init reads."""


@runtime_checkable
class RetrievalLayout(Protocol):
  """A layout that can ask for a list of items."""

  def request_batch(self, requests: Any) -> dict[str, np.ndarray]:
    """One row per request: what is known of the user."""

  def shortened(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A batch of requests in rows as short as its histories, or as it is."""


@runtime_checkable
class ImpressionLayout(Protocol):
  """A layout that can ask about given items."""

  num_candidates: int
  feedback: Any

  def impression_batch(self, impressions: Any) -> dict[str, np.ndarray]:
    """One row per request: what is known of the user, and the candidates."""


@runtime_checkable
class ApartLayout(Protocol):
  """A layout that tells histories apart from the candidates behind them."""

  def apart(
    self, batch: Mapping[str, np.ndarray]
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An impression_batch as a CandidateModel's start and candidates read it.

    Arrays of the second part are (B, N, ...).
    """


@runtime_checkable
class AskingLayout(Protocol):
  """A layout that can ask a fixed set of queries of any history.

  Attributes:
    queries: their names.
  """

  queries: tuple[str, ...]

  def asking_batch(self, requests: Any) -> dict[str, np.ndarray]:
    """One row per request: what is known of the user, and all queries."""

  def trained_until(self, histories: Any) -> int:
    """Time of the latest event that it trains on, since the epoch."""


@runtime_checkable
class ListLayout(Protocol):
  """A layout whose targets are lists of items.

  Attributes:
    lists: what makes them of events (data/dataset/target_lists.py).
    users: whose lists it has; None = all.
    wanted: which events are read, of the data set.
  """

  lists: Any
  users: Any
  wanted: Any


@runtime_checkable
class Backbone(Protocol):
  """Turns embedded positions into hidden states.

  Attributes:
    logical_axes: names of the parameters' dimensions (core/sharding.py).
    uses_time: whether event times change the output.
    max_length: longest segment whose positions it can tell apart; NO_LIMIT
      where it tells any.
  """

  logical_axes: LogicalAxes
  uses_time: bool
  max_length: int

  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    *,
    deterministic: bool,
  ) -> Float[Array, "B L D"]:
    """Hidden states; 0 at padding."""


@runtime_checkable
class ShowsWeights(Protocol):
  """Attention whose weights can be looked at."""

  def weights(self, q: Any, k: Any, info: SequenceInfo, bias: Any) -> Any:
    """(B, H, Q, L), every pair in memory."""


@runtime_checkable
class Objective(Protocol):
  """A loss."""

  def __call__(
    self, outputs: Outputs, batch: Batch, *, rng: jax.Array, items: Any
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The loss, and its parts by name."""


@runtime_checkable
class Source(Protocol):
  """Where events come from."""

  def read(self) -> Any:
    """The raw log."""


@runtime_checkable
class Split(Protocol):
  """Which events train, validate and test."""

  def resolve(
    self, times: Any, epoch_seconds: int | None, actions: Any = ()
  ) -> dict[str, Any]:
    """The split of a data set as a JSON-able description."""


@runtime_checkable
class TaskObjective(Protocol):
  """A loss on the labels of tasks."""

  tasks: tuple[str, ...]


@runtime_checkable
class CombinedObjective(Protocol):
  """A loss made of others, by name."""

  objectives: Mapping[str, Objective]


@runtime_checkable
class Index(Protocol):
  """Item vectors, ready to be searched."""

  def search(
    self,
    query_BD: Float[Array, "B D"],
    k: int,
    allowed: Bool[Any, "B V1"] | None = None,
  ) -> tuple[Any, Any, dict[str, Any]]:
    """Ids and scores (B, K), best first, and anything else by name."""


# search(requests, k, allowed) -> ids (B, K), scores (B, K), aux by name.
Search = Callable[[Any, int, Any], tuple[Any, Any, dict[str, Any]]]

RunT = TypeVar("RunT", contravariant=True)
LoadedT = TypeVar("LoadedT", contravariant=True)


@runtime_checkable
class Evaluator(Protocol[RunT, LoadedT]):
  """One thing that is measured of a run: config.evals.NAME.

  Attributes:
    names: metrics of the validation part that training may watch; higher is
      better. An evaluator without any is not asked while training.
    file: what it keeps in the workdir for paired comparisons, such as
      "ranks.npz"; "" = nothing.
  """

  file: ClassVar[str]

  @property
  def names(self) -> tuple[str, ...]: ...

  def check(self, run: RunT, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a run cannot be measured so.

    Args:
      run: what is to be measured.
      watched: those of `names` that training watches.
    """

  def validate(self, run: RunT, params: Any, program: Any) -> dict[str, float]:
    """Metrics of the validation part; those not defined are left out."""

  def measure(
    self, run: RunT, loaded: LoadedT, *, baselines: bool = True
  ) -> tuple[dict[str, Any], Any]:
    """The JSON-able section of the results, and what `file` keeps (or None).

    What is kept has save(path).
    """

  def text(self, document: Mapping[str, Any]) -> str:
    """A section, with the description of its run, as lines for a terminal."""

  def differences(
    self, ours: pathlib.Path, theirs: pathlib.Path
  ) -> dict[str, Any]:
    """Paired differences of two workdirs by part, from what `file` kept."""

  def comparison_text(self, against: Mapping[str, Any]) -> str:
    """Such differences as lines for a terminal."""
