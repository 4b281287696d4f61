# SPDX-License-Identifier: Apache-2.0
"""What a model answers: the seams of core/seams.py that are models' alone.

Every model is a Model. What it may answer beside its call are small protocols
of their own: a model has those of what it is for.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.types import Batch, Outputs

LogicalAxes = Mapping[str, tuple[str | None, ...]]


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
class AssumingModel(Protocol):
  """A model that goes on with items of which it is assumed what came of them.

  A cache is the model's own; see ranking/assumed_lists.py.
  """

  def open_list(self, batch: Batch, places: int) -> Any:
    """One beam behind each prompt, with room for so many items."""

  def consider(self, cache: Any, token_BNT: Int[Array, "B N T"]) -> Any:
    """N beams, each of which has read the tokens of a candidate."""

  def action_log_probs(self, cache: Any) -> Float[Array, "B N masks"]:
    """log P of every combination of actions, by their bit mask."""

  def place(
    self,
    cache: Any,
    chosen_B: Int[Array, "B"],
    assume: Callable[[Float[Array, "B 1 C"], int], Float[Array, "B 1 C"]],
  ) -> Any:
    """One beam: a candidate, and what is assumed of it.

    Args:
      cache: of `consider`.
      chosen_B: which candidate.
      assume: (logits of an action's tokens, number of the token) -> how much
        of each is read; the first stands for what is not known.
    """


@runtime_checkable
class EventModel(Protocol):
  """A model that may read more of an event than its item.

  Attributes:
    num_actions: bits of the mask that tells what was done; 0 = it reads none.
    groups: whether it reads places that stand for several events.
  """

  num_actions: int
  groups: bool


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
class NamedVectorModel(Protocol):
  """A model that may know the features that it reads by name.

  Attributes:
    vector_names: of features, then of those that events have too, as
      data/layouts/pointwise.py has them; None where it does not know them.
  """

  vector_names: tuple[str, ...] | None


@runtime_checkable
class RowModel(FeatureModel, Protocol):
  """A model of impressions that do not see each other.

  Attributes:
    num_tasks: logits of an impression.
  """

  num_tasks: int


@runtime_checkable
class LongHistoryModel(Protocol):
  """A model that reads a history apart from what is asked behind it.

  Attributes:
    request_columns: places of the features of user and moment.
    history_group: what the first event of a window must be a multiple of.
    history_seconds: how it is told how long ago events were; "" = not.
    max_history: most events of a history, or NO_LIMIT.
  """

  request_columns: tuple[int, ...]
  history_group: int
  history_seconds: str
  max_history: int


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
class ConditionModel(Protocol):
  """A model of conditions, and of items by their features.

  Attributes:
    condition_rows: rows of the table of each part of a condition.
    item_rows: rows of the table of each feature of items.
  """

  condition_rows: tuple[int, ...]
  item_rows: tuple[int, ...]


@runtime_checkable
class AnsweringModel(VectorModel, Protocol):
  """A model that says by vectors what a user would want, query by query."""

  def answers(self, batch: Batch) -> Float[Array, "B Q D"]:
    """What each query of a user finds, to be compared with items' vectors."""


@runtime_checkable
class VectorReader(Protocol):
  """A model that may read vectors which others have made.

  Attributes:
    reads_vectors: which it reads, of data/layouts/vector_columns.py.
  """

  reads_vectors: tuple[str, ...]


@runtime_checkable
class AskedModel(Protocol):
  """A model that reads the content of items, and of what a request looks for.

  Attributes:
    query_encoder: of the latter.
  """

  query_encoder: Any


@runtime_checkable
class TowerModel(Protocol):
  """A model that reads the features of items apart from all others."""

  item_columns: tuple[int, ...]


@runtime_checkable
class AudienceModel(Protocol):
  """A model that may read the users who met an item before.

  Attributes:
    audience_columns: places among all features of those that they have; none
      where it reads no such list.
  """

  audience_columns: tuple[int, ...]


@runtime_checkable
class CodesModel(Protocol):
  """A model that reads the codes of items."""

  level_sizes: tuple[int, ...]


@runtime_checkable
class GrammarModel(Protocol):
  """A model of one sequence of typed tokens.

  Attributes:
    grammar: of the tokens (data/token_grammar.py), equal to its layout's.
  """

  grammar: Any


@runtime_checkable
class StepModel(Protocol):
  """A model that goes on with beams, whether or not it is bound to requests."""

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """The cache of K beams, and their logits of `level`.

    Args:
      cache: of the previous step, or of start.
      level: 1 to M - 1, static.
      codes_BK: the beams' codes of level - 1.
      parents_BK: the beams of the previous step that these continue; 0 at
        level 1, where a request has one state.
    """


@runtime_checkable
class DecoderModel(CodesModel, StepModel, Protocol):
  """A model that generates the codes of items, level by level."""

  def start(self, batch: Batch) -> tuple[Any, Float[Array, "B C"]]:
    """A cache that has read the requests, and logits of level 0."""


@runtime_checkable
class ListModel(CodesModel, StepModel, Protocol):
  """A model that writes lists of items, K of each request side by side.

  Attributes:
    list_size: J, items of the longest list that it is trained to write.
  """

  list_size: int

  def begin_lists(
    self, batch: Batch, num_lists: int, list_size: int
  ) -> tuple[Any, Int[Array, "B K"]]:
    """A cache of empty lists with room for their items, and zeros (B, K).

    These stand for the codes and parents of lists without an item.
    """

  def next_item(
    self,
    cache: Any,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
    behind: Bool[Array, ""],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """The cache before a further item of each list, and logits of level 0.

    Args:
      cache: of begin_lists, or of the last step.
      codes_BK: the last code of the item before.
      parents_BK: the lists of the last step that these continue.
      behind: whether there is an item before; it may be traced.
    """


@runtime_checkable
class ListRewardModel(Protocol):
  """A model that says how good whole lists are to users."""

  def reward(
    self, batch: Batch, item_GKN: Int[Array, "G K N"]
  ) -> Float[Array, "G K"]:
    """Of K lists of N items of every request, between 0 and 1; item 0 = none.

    Whether they are lists, all of whose places are empty, is the caller's.
    """


@runtime_checkable
class SharedHistoryModel(Protocol):
  """A model that may find several targets of a history it reads once.

  Attributes:
    shares_history: whether the model, as it is configured, can: to it an event
      does not depend on those behind it.
  """

  shares_history: bool


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
class ConstantModel(Protocol):
  """A model that keeps data among its parameters, which nothing trains.

  Attributes:
    constants: paths of these parameters, such as "item_content/content".
  """

  constants: tuple[str, ...]


@runtime_checkable
class CarryingModel(Protocol):
  """A model that carries what it has computed from step to step.

  Attributes:
    carried: paths of the parameters that hold it, such as "bank/vectors".
      Nothing trains them; Outputs.assign sets them.
  """

  carried: tuple[str, ...]


@runtime_checkable
class SeenModel(Protocol):
  """A model that knows which items training may know of."""

  def seen(self) -> Bool[Array, "R"]:
    """Which rows are items with an event in the training part."""
