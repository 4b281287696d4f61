# SPDX-License-Identifier: Apache-2.0
"""Histories as one sequence of typed tokens: item IDs, actions and context.

One causal model reads them, finds items and says what comes of them. A grammar
says which tokens there are and which may follow (data/token_grammar.py):

    bos  hour  s1 s2 s3 age popularity author followed click  s1 ...

The pipeline packs rows of TOKENS; one is asked for at every place before it:

    token_BL  type_BL  item_BL  user_BL  segment_ids_BL  positions_BL
    label_BL  label_type_BL  weight_BL         0 and weight 0: nothing is asked
    time_BL  query_time_BL                     seconds

item_BL is 0 where a token is of no item; data/layouts/typed_columns.py says
what times are.

Point in time: what is told of an item or a request was known when its request
was made, in training as behind a request of `request_batch`, whose prompts end
with the context of their moment and ask for the first code. `impression_batch`
has the prompts and the tokens of N candidates up to their action.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.layouts.base import (
  BaseLayout,
  LayoutArtifacts,
  named_columns,
)
from genrec_jax.data.layouts.semantic_ids import codes_of_catalog
from genrec_jax.data.layouts.token_values import TokenValues
from genrec_jax.data.layouts.typed_columns import (
  COLUMNS,
  history_rows,
  with_context,
)
from genrec_jax.data.schema import Record
from genrec_jax.data.token_events import UNKNOWN_ACTION
from genrec_jax.data.token_grammar import TokenGrammar
from genrec_jax.data.token_sequence import block_tokens, type_weights

_WEIGHTS = {"level": 1.0, "action": 1.0, "extra": 0.1}
# A request has no item yet, and what is told of it must not be one's.
_OF_REQUESTS = ("context", "user")


@dataclasses.dataclass(frozen=True)
class TypedTokens(BaseLayout):
  """See the module docstring.

  Attributes:
    feedback: the actions that are told, and asked for.
    level_sizes: codes of each of the M levels of an item's ID.
    max_length: tokens of an example; a prompt leaves room for one item's.
    combined: an action is one token; False = a token per task.
    extras: what is told of an item at its moment, one token each.
    extras_first: in front of its ID: a control for leaks.
    context: what is told of a request, one token each: features of the moment
      and of the user; none = requests are not told apart.
    other: actions that are events of their own behind the item, such as that
      its author is followed; None = none.
    counted: actions that features may count; None = those of feedback.
    weights: how much labels count, by group or by type of token; what is not
      named counts: levels and actions 1, extras .1, all else 0.
    skip_weight: how much the codes of an item count on which none of the tasks
      was done: to predict them is to learn what showed it.
    scenes: where items must have been shown for their labels to count, as a
      log's scene column has it: the whole history is read, and one surface is
      learnt. () = anywhere.
    num_candidates: N, items that are asked about side by side.
    codes, bound_feedback, bound_other, bound_scenes: set by `bind`.
  """

  feedback: Feedback
  level_sizes: tuple[int, ...]
  max_length: int
  combined: bool = True
  extras: FeatureSet = FeatureSet()
  extras_first: bool = False
  context: FeatureSet = FeatureSet()
  other: Feedback | None = None
  counted: Feedback | None = None
  weights: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  skip_weight: float = 1.0
  scenes: tuple[str, ...] = ()
  num_candidates: int = 1
  codes: Int[np.ndarray, "V1 M"] | None = None
  bound_feedback: BoundFeedback | None = None
  bound_other: BoundFeedback | None = None
  bound_scenes: Int[np.ndarray, "s"] | None = None

  num_columns = len(COLUMNS)

  def __post_init__(self):
    wrong = [f.of for f in self.context.features if f.side not in _OF_REQUESTS]
    if wrong:
      raise ValueError(
        f"config.pipeline.layout.context has {wrong[0]!r}, and a request has no"
        " item: choose features of its moment or its user (context.NAME,"
        " user.NAME)."
      )
    if self.num_candidates < 1:
      raise ValueError(
        f"num_candidates={self.num_candidates} must be at least 1."
      )
    if not 0 <= self.skip_weight <= 1:
      raise ValueError(f"skip_weight={self.skip_weight} must lie in 0 .. 1.")
    self._type_weights  # noqa: B018 (checks the grammar and the names)
    context, block = len(self.context.features), len(self.grammar.block)
    other = len(self.other.tasks) if self.other else 0
    least = 1 + 2 * context + 2 * block + other
    if self.max_length < least:
      raise ValueError(
        f"max_length={self.max_length} must be at least {least}: for the tokens"
        " of one event, and of an item that is asked about."
      )

  @functools.cached_property
  def grammar(self) -> TokenGrammar:
    """What the tokens are, as a model must know it."""
    return TokenGrammar(
      level_sizes=tuple(self.level_sizes),
      actions=tuple(self.feedback.tasks),
      combined=self.combined,
      extras=_named(self.extras),
      extras_first=self.extras_first,
      context=_named(self.context),
      other=tuple(self.other.tasks) if self.other else (),
    )

  @property
  def prompt_length(self) -> int:
    """Tokens of a row of `request_batch`."""
    return self.max_length - len(self.grammar.block)

  def bind(self, artifacts: LayoutArtifacts) -> "TypedTokens":
    """The layout with the codes of items, what actions mean, and features."""
    histories = artifacts.histories
    actions = histories.manifest.actions
    feedback = self.feedback.bind(actions)
    other = None if self.other is None else self.other.bind(actions)
    counted = (self.counted or self.feedback).bind(actions)
    extras, context = (
      found.bind(histories, artifacts.catalog, counted)
      if found.features
      else found
      for found in (self.extras, self.context)
    )
    return dataclasses.replace(
      self,
      codes=codes_of_catalog(artifacts, len(self.level_sizes)),
      bound_feedback=feedback,
      bound_other=other,
      bound_scenes=self._numbers_of(histories.manifest.scenes),
      extras=extras,
      context=context,
    )

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a model has another grammar."""
    seams.require(system, seams.GrammarModel, "config.system")
    if system.grammar != self.grammar:
      raise ValueError(
        f"config.system.grammar is {system.grammar}, and config.pipeline.layout"
        f" makes tokens of {self.grammar}: set it to that."
      )

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of the most recent of the first `end` events; none of none."""
    del rng
    if end < 1:
      return np.zeros((0, len(COLUMNS)), np.int32)
    return self._history(record, end, self.max_length, int(record["user"]))

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows; all int32 but the weights, float32."""
    batch = named_columns(rows_BLC, segment_ids_BL, COLUMNS)
    type_V = self.grammar.type_V
    return {
      **batch,
      "weight_BL": batch["weight_BL"].view(np.float32),
      "type_BL": type_V[batch["token_BL"]],
      "label_type_BL": type_V[batch["label_BL"]],
      "positions_BL": positions_BL.astype(np.int32),
    }

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: history and context, right padded; no label.

    The last token of a row is where the first code is asked for.
    """
    return self._prompts(
      requests.history, requests.user, requests.query_time, len(requests)
    )

  def impression_batch(self, impressions: Impressions) -> dict[str, np.ndarray]:
    """The same of impressions, and what is told of their candidates.

    candidate_BN are items; candidate_token_BNT their tokens, of the types
    `grammar.asked`; 0 at padding. The action is asked for at the last of them.
    """
    batch = self._prompts(
      impressions.history,
      impressions.user,
      impressions.query_time,
      len(impressions),
    )
    item_BN = impressions.candidates.astype(np.int32)
    token_BNT = np.zeros((*item_BN.shape, len(self.grammar.asked)), np.int32)
    for i, record in enumerate(impressions.history):
      real = np.flatnonzero(item_BN[i])
      items = item_BN[i, real]
      time, user = int(impressions.query_time[i]), int(impressions.user[i])
      extra_NE = self.values.after(self.extras, record, time, user, items)
      codes_NM = self.values.codes_of(items)
      unknown = np.full(len(items), UNKNOWN_ACTION)
      tokens = block_tokens(self.grammar, codes_NM, extra_NE, unknown)
      token_BNT[i, real] = tokens[:, : len(self.grammar.asked)]
    return {**batch, "candidate_BN": item_BN, "candidate_token_BNT": token_BNT}

  def _prompts(self, histories, users, times, count) -> dict[str, np.ndarray]:
    shape = (count, self.prompt_length)
    rows = np.zeros((*shape, len(COLUMNS)), np.int32)
    segments = np.zeros(shape, np.int32)
    room = self.prompt_length - len(self.grammar.context)
    nobody = np.zeros(1, np.int32)
    for i, record in enumerate(histories):
      user, time = int(users[i]), int(times[i])
      mine = self._history(record, len(record["item"]), room, user)
      context = self.values.after(self.context, record, time, user, nobody)[0]
      mine = with_context(self.grammar, mine, context, time, user)
      rows[i, : len(mine)], segments[i, : len(mine)] = mine, 1
    positions = np.arange(self.prompt_length)[None, :] * segments
    return self.batch(rows, segments, positions)

  def _history(
    self, record: Record, end: int, limit: int, user: int
  ) -> Int[np.ndarray, "n C"]:
    window = self.values.window(record, end, limit, user)
    counted_n = None
    if self.bound_scenes is not None and "scene" in record:
      shown_n = record["scene"][window.seen.event]
      counted_n = np.isin(shown_n, self.bound_scenes)
    return history_rows(
      self.grammar,
      window,
      self._type_weights,
      self.skip_weight,
      user,
      counted_n,
    )

  def _numbers_of(self, known: Sequence[str]) -> Int[np.ndarray, "s"] | None:
    """Numbers of the scenes among those of a data set; None = all count."""
    for scene in self.scenes:
      if scene not in known[1:]:
        hint = choices_hint(scene, known[1:]) if known else " It has none."
        raise ValueError(
          f"config.pipeline.layout.scenes names {scene!r}, which the data set"
          f" does not have.{hint}"
        )
    if not self.scenes:
      return None
    return np.array([known.index(scene) for scene in self.scenes], np.int32)

  @functools.cached_property
  def values(self) -> TokenValues:
    """What histories tell."""
    return TokenValues(
      self.grammar,
      self.extras,
      self.context,
      self.codes,
      self.bound_feedback,
      self.bound_other,
    )

  @functools.cached_property
  def _type_weights(self) -> Float[np.ndarray, "K"]:
    return type_weights(self.grammar, {**_WEIGHTS, **self.weights})


def _named(features: FeatureSet) -> tuple[tuple[str, int], ...]:
  names = [f.of for f in features.features]
  return tuple(zip(names, features.rows, strict=True))
