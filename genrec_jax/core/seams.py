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

from flax.errors import DescriptorAttributeError as AttributeErrorOfFlax
import jax
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from genrec_jax.core.types import Batch, Mean, Outputs, SequenceInfo

LogicalAxes = Mapping[str, tuple[str | None, ...]]
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


@runtime_checkable
class ImpressionLayout(Protocol):
  """A layout that can ask about given items."""

  num_candidates: int
  feedback: Any

  def impression_batch(self, impressions: Any) -> dict[str, np.ndarray]:
    """One row per request: what is known of the user, and the candidates."""


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
class Model(Protocol):
  """A Linen module that training can run.

  Attributes:
    logical_axes: names of the parameters' dimensions (core/sharding.py).
    uses_time: whether event times change the output.
    max_length: longest segment whose positions it can tell apart, or NO_LIMIT.
    item_tables: paths of parameters that are indexed by item id.
  """

  logical_axes: LogicalAxes
  uses_time: bool
  max_length: int
  item_tables: tuple[tuple[str, ...], ...]

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """The outputs of a packed batch."""


@runtime_checkable
class VectorModel(Protocol):
  """A model whose items have vectors."""

  def items(self, ids: Any = None) -> Float[Array, "... D"]:
    """Vectors of items, or the whole table."""


@runtime_checkable
class QueryModel(VectorModel, Protocol):
  """A model that finds items by the dot product of vectors."""

  def query(self, batch: Batch) -> Float[Array, "B D"]:
    """One vector per request."""


@runtime_checkable
class ScoreModel(Protocol):
  """A model that says what a user would do with given items."""

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of every candidate and task."""


@runtime_checkable
class CandidateModel(ScoreModel, Protocol):
  """A model that may score candidates behind a history it has read once.

  Attributes:
    caches_history: whether the model, as it is configured, can.
  """

  caches_history: bool

  def start(self, batch: Batch) -> Any:
    """What candidates need of rows of histories."""

  def candidates(self, cache: Any, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of N candidates behind each history."""


@runtime_checkable
class FeatureModel(Protocol):
  """A model that reads rows of features, and the actions of a history.

  Attributes:
    feature_rows: rows of each feature's table.
    history_columns: places among them of the features that events have too.
    num_actions: bits of the mask that tells what came of an event.
  """

  feature_rows: tuple[int, ...]
  history_columns: tuple[int, ...]
  num_actions: int


@runtime_checkable
class RowModel(FeatureModel, Protocol):
  """A model of impressions that do not see each other.

  Attributes:
    num_tasks: logits of an impression.
  """

  num_tasks: int


@runtime_checkable
class RequestModel(FeatureModel, Protocol):
  """A model of the tokens that tell a request.

  Attributes:
    unknown_action: whether a candidate's token says that its action is not
      known.
    context_ids: of attributes in front; 0 = it reads none.
  """

  unknown_action: bool
  context_ids: int


@runtime_checkable
class TowerModel(Protocol):
  """A model that reads the features of items apart from all others."""

  item_columns: tuple[int, ...]


@runtime_checkable
class CodesModel(Protocol):
  """A model that reads the codes of items."""

  level_sizes: tuple[int, ...]


@runtime_checkable
class DecoderModel(CodesModel, Protocol):
  """A model that generates the codes of items, level by level."""

  def start(self, batch: Batch) -> tuple[Any, Float[Array, "B C"]]:
    """A cache that has read the requests, and logits of level 0."""

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """The cache of K beams, and their logits of a level."""


@runtime_checkable
class TokenizerModel(Protocol):
  """A model that is trained to be a tokenizer of item vectors."""

  def tokenizer(self, params: Any) -> Any:
    """The fitted tokenizer of these parameters."""


@runtime_checkable
class DataInitModel(Protocol):
  """A model some of whose parameters start from the data."""

  def data_init(self, params: Any, data: Any, rng: jax.Array) -> Any:
    """Parameters to start from."""


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

  def resolve(self, times: Any, epoch_seconds: int | None) -> dict[str, Any]:
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


def members(protocol: type) -> tuple[str, ...]:
  """Names that a protocol asks for."""
  found: dict[str, None] = {}
  for cls in protocol.__mro__:
    if not getattr(cls, "_is_protocol", False) or cls is Protocol:
      continue
    names = [*vars(cls).get("__annotations__", {}), *vars(cls)]
    found.update(
      (name, None)
      for name in names
      if not name.startswith("_") or name == "__call__"
    )
  return tuple(found)


def missing(thing: Any, protocol: type) -> tuple[str, ...]:
  """What an object (or a class) lacks of a protocol."""
  return tuple(n for n in members(protocol) if not _has(thing, n))


def _has(thing: Any, name: str) -> bool:
  if isinstance(thing, type):
    # A field without a default is none of the class's attributes.
    fields = (vars(cls).get("__annotations__", {}) for cls in thing.__mro__)
    return hasattr(thing, name) or any(name in known for known in fields)
  try:
    return hasattr(thing, name)
  except AttributeErrorOfFlax:
    # Of a property that asks a part for what that lacks.
    return False


def is_seam(kind: Any) -> bool:
  """Whether a type is one of the protocols here."""
  return isinstance(kind, type) and bool(getattr(kind, "_is_protocol", False))


def offers(thing: Any, protocol: type) -> bool:
  """Whether an object has all that a protocol asks for."""
  return not missing(thing, protocol)


def require(thing: Any, protocol: type, where: str) -> None:
  """Raises a ValueError that says what an object lacks.

  Args:
    thing: what enters.
    protocol: what it must offer.
    where: its place in the config, for the error.
  """
  lacking = missing(thing, protocol)
  if lacking:
    doc = (protocol.__doc__ or "").splitlines()[0].rstrip(".")
    raise ValueError(
      f"{where} ({type(thing).__name__}) lacks {', '.join(lacking)}, which"
      f" {protocol.__name__} asks for: {doc[:1].lower()}{doc[1:]}."
    )
