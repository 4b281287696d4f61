# SPDX-License-Identifier: Apache-2.0
"""Negatives that are hard to tell from positives, and what keeps them honest.

    HardBlock      what scores highest among candidates, by the model of now
    FromLists      what another model found, from lists that the layout reads
    PositiveAware  leaves out what scores like the positive: hard negatives are
                   often items that the user would have taken (NV-Retriever,
                   arXiv 2407.15831, and HLLM, arXiv 2409.12740)

Nothing here is differentiated: what is drawn is scored again by the loss.
Shapes: T = B L positions, M candidates, K = count negatives, D width.
"""

from collections.abc import Callable
import dataclasses

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core.option_checks import check_counts
from genrec_jax.objectives.negatives import (
  Drawn,
  Negatives,
  Positions,
  Rule,
  check_count,
  draw_tokens,
)
from genrec_jax.ops.blocks import count_blocks, join, split
from genrec_jax.ops.distinct import distinct_ids
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES

_WHERE = "config.objective.negatives"
# Scores held at once where every position ranks the candidates.
_BLOCK_SCORES = 1 << 24


@dataclasses.dataclass(frozen=True)
class PositiveAware:
  """What another kind draws, without what scores like the positive.

  A negative n of a position with the right item p is kept where all that is
  given holds:

      ratio      score(n) < ratio score(p); .95 in NV-Retriever. A positive
                 below 0 has a threshold above it, as the formula says.
      similarity cosine of the vectors of n and p at most that; .99 in HLLM

  Costs T K comparisons and no product: scores are the loss's own. The second
  rule takes another 2 T K D FLOPs.

  Attributes:
    negatives: the other kind.
    ratio: above 0, at most 1; None = no such rule.
    similarity: above 0, at most 1; None = no such rule.
  """

  negatives: Negatives
  ratio: float | None = 0.95
  similarity: float | None = None

  def __post_init__(self):
    for name in ("ratio", "similarity"):
      value = vars(self)[name]
      if value is not None and not 0 < value <= 1:
        raise ValueError(
          f"{_WHERE}.{name}={value!r} must be above 0 and at most 1, or None."
        )
    if self.ratio is None and self.similarity is None:
      raise ValueError(
        f"{_WHERE}: PositiveAware has no rule: give ratio or similarity."
      )

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """The other kind's, with this rule."""
    return tuple(
      dataclasses.replace(one, rules=(*one.rules, self))
      for one in self.negatives.draw(rng, positions)
    )

  def keep(
    self,
    positive_T: Float[Array, "T"],
    score_TN: Float[Array, "T N"],
    cosine: Callable[[], Float[Array, "T N"]],
  ) -> Bool[Array, "T N"]:
    """See Rule."""
    kept = jnp.ones(score_TN.shape, bool)
    if self.ratio is not None:
      kept = score_TN < self.ratio * positive_T[:, None]
    if self.similarity is not None:
      kept = kept & (cosine() <= self.similarity)
    return kept


@dataclasses.dataclass(frozen=True)
class HardBlock:
  """The `count` best of a block of candidates, by the table and queries of now.

  Candidates are looked up once, M rows of D floats. With `probes`, that many
  positions of the batch, drawn at random, rank them: a candidate is as hard as
  the best score that a probe gives it, the K hardest are shared by all
  positions, and beside the cost of UniformShared stand 2 P M D FLOPs and one
  top K of M. That is little for P far below T: 64 probes of a block of 8 K cost
  what 128 positions of the loss do forwards, and memory grows by (P + D) M.
  Without, each position ranks them for itself: 2 T M D FLOPs and T searches of
  M, and then all that UniformPerPosition costs.

  Candidates that a ranking position's user takes later, and those that rules of
  the candidates leave out, do not count for it. Where fewer are left, there are
  fewer negatives. How likely an item is to be drawn is not known.

  Attributes:
    count: K.
    candidates: draws the block, shared by all positions: such as
      UniformShared(8 K), or PositiveAware around it.
    probes: P; None = each position for itself.
  """

  count: int
  candidates: Negatives
  probes: int | None = 64

  def __post_init__(self):
    check_counts(self, _WHERE, "count")
    if self.probes is not None:
      check_counts(self, _WHERE, "probes")

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """Ids (count,), or (T, count) without probes; 0 where nothing is left.

    Raises:
      ValueError: more negatives than candidates or items, candidates of each
        position, or several kinds of them with rules of their own.
    """
    check_count(self, self.count, positions.items.num_items)
    parts = self.candidates.draw(jax.random.fold_in(rng, 0), positions)
    ids_M, rules = self._block(parts)
    vectors_MD = positions.items.still(ids_M)
    if self.probes is None:
      ids = self._of_each(positions, ids_M, vectors_MD, rules)
    else:
      at_P = draw_tokens(
        jax.random.fold_in(rng, 1), positions.where_T, self.probes
      )
      score_PM = _scores(positions, at_P, ids_M, vectors_MD, rules)
      # Padding has no opinion where no position has a loss.
      valid_P1 = positions.where_T[at_P][:, None]
      score_PM = jnp.where(valid_P1, score_PM, -jnp.inf)
      ids = _best(jnp.max(score_PM, axis=0)[None], ids_M, self.count)[0]
    return (Drawn(ids, rules=rules),)

  def _block(
    self, parts: tuple[Drawn, ...]
  ) -> tuple[Int[Array, "M"], tuple[Rule, ...]]:
    """Distinct candidates, ascending from 0, and the rules of all."""
    if any(part.ids.ndim != 1 for part in parts):
      raise ValueError(
        f"{_WHERE}.candidates draws for every position apart: take one that"
        " draws for all, such as objectives.UniformShared."
      )
    rules = parts[0].rules
    if any(part.rules != rules for part in parts):
      raise ValueError(
        f"{_WHERE}.candidates has parts with rules of their own: put"
        " objectives.PositiveAware around the whole mixture."
      )
    ids_M = jnp.concatenate([part.ids for part in parts])
    if self.count > len(ids_M):
      raise ValueError(
        f"{_WHERE}.count={self.count} is more than the {len(ids_M)} candidates"
        " of the block: draw more of them, or keep fewer."
      )
    return distinct_ids(ids_M)[0], rules

  def _of_each(self, positions, ids_M, vectors_MD, rules):
    """Every position's own K best, some positions at a time."""
    total = len(positions.labels_T)
    blocks = count_blocks(total, _BLOCK_SCORES // len(ids_M))

    def some(at_S):
      score_SM = _scores(positions, at_S, ids_M, vectors_MD, rules)
      return _best(score_SM, ids_M, self.count)

    at_CS = split(jnp.arange(total, dtype=jnp.int32), blocks)
    return join(lax.map(some, at_CS), total)


def _scores(positions, at_P, ids_M, vectors_MD, rules) -> Float[Array, "P M"]:
  """How hard candidates are for some positions; -inf = none for them."""
  query_PD = lax.stop_gradient(positions.query_TD)[at_P]
  labels_P = positions.labels_T[at_P]
  score_PM = jnp.matmul(query_PD, vectors_MD.T, precision=SCORES)
  keep_PM = ~_own(positions, at_P, ids_M) & (ids_M > 0)[None]
  if rules:
    right_PD = positions.items.still(labels_P)
    positive_P = jnp.einsum("pd,pd->p", query_PD, right_PD, precision=SCORES)

    def cosine():
      return cosines(right_PD, vectors_MD)

    for rule in rules:
      keep_PM = keep_PM & rule.keep(positive_P, score_PM, cosine)
  return jnp.where(keep_PM, score_PM, -jnp.inf)


def _own(positions: Positions, at_P, ids_M) -> Bool[Array, "P M"]:
  """Which candidates, distinct and ascending, are a position's own."""
  own_PS, listed_PS = positions.own.of_positions(at_P)
  # The zeros that fill up stand behind all ids, out of their order.
  filled_M = (ids_M == 0) & (jnp.arange(len(ids_M)) > 0)
  key_M = jnp.where(filled_M, jnp.iinfo(ids_M.dtype).max, ids_M)
  slot_PS = jnp.searchsorted(key_M, listed_PS)
  slot_PS = jnp.minimum(slot_PS, len(ids_M) - 1)
  found_PS = own_PS & (key_M[slot_PS] == listed_PS)
  slot_PS = jnp.where(found_PS, slot_PS, len(ids_M))
  none_PM = jnp.zeros((len(at_P), len(ids_M)), bool)
  rows_P1 = jnp.arange(len(at_P))[:, None]
  return none_PM.at[rows_P1, slot_PS].set(True, mode="drop")


def _best(score_PM, ids_M, count: int) -> Int[Array, "P {count}"]:
  score_PK, at_PK = lax.top_k(score_PM, count)
  return jnp.where(score_PK > -jnp.inf, ids_M[at_PK], 0)


@dataclasses.dataclass(frozen=True)
class FromLists:
  """Items of lists that stand in the batch: of a teacher, or of an ensemble.

  The layout reads them of an artifact (layouts.EventLists.negatives), the list
  of each position as of that moment. An item that the user takes is none, as
  for every kind. Cost and memory are those of UniformShared, or, with `shared`
  False, of UniformPerPosition without its small-catalogue form: T K rows. The
  batch itself grows by T n int32, for lists of n.

  Attributes:
    count: K.
    shared: draw K entries from the lists of the whole batch, the same for all
      positions; False: the first K of each position's own list.
    lists: name of the lists in a batch.
  """

  count: int
  shared: bool = True
  lists: str = "negatives_BLN"

  def __post_init__(self):
    check_counts(self, _WHERE, "count")

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """Ids (count,) or (T, count); 0 where a list is shorter.

    Raises:
      ValueError: a batch without lists, or with shorter ones than asked for.
    """
    check_count(self, self.count, positions.items.num_items)
    if self.lists not in positions.batch:
      raise ValueError(
        f"the layout makes no {self.lists!r}, which {_WHERE} reads: set"
        " config.pipeline.layout.lists.negatives to the length of the lists."
      )
    lists_Tn = positions.batch[self.lists]
    lists_Tn = lists_Tn.reshape(-1, lists_Tn.shape[-1])
    if self.shared:
      valid_Tn = positions.where_T[:, None] & (lists_Tn > 0)
      at = draw_tokens(rng, valid_Tn.reshape(-1), self.count)
      return (Drawn(lists_Tn.reshape(-1)[at]),)
    if self.count > lists_Tn.shape[-1]:
      raise ValueError(
        f"{_WHERE}.count={self.count} is more than the {lists_Tn.shape[-1]}"
        " items of a list: mine longer lists, or take fewer."
      )
    return (Drawn(lists_Tn[:, : self.count]),)


def cosines(
  right_TD: Float[Array, "T D"], vectors: Float[Array, "*S N D"]
) -> Float[Array, "T N"]:
  """Cosines of positives' vectors and those of negatives, without gradient."""
  right_TD, vectors = (
    lax.stop_gradient(l2_normalize(x)) for x in (right_TD, vectors)
  )
  if vectors.ndim == 2:
    return jnp.matmul(right_TD, vectors.T, precision=SCORES)
  return jnp.einsum("td,tnd->tn", right_TD, vectors, precision=SCORES)
