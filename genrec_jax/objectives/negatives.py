# SPDX-License-Identifier: Apache-2.0
"""Where the negatives of a sampled loss come from: one interface for all.

    parts = negatives.draw(rng, positions)      one Drawn, or several (Mixed)

A Drawn has item ids, shared by all positions (N,) or of each (T, N); how likely
a draw gives an id, where that is known; and rules that leave some out by their
scores. The loss leaves out, whatever the kind, id 0, the positive itself and
what the user of a position takes later (objectives/own_events.py).

    kind                 of each position    expected cost and memory of a step
    UniformPerPosition   its own             T K rows of D and as many gradients
    UniformShared        all the same        K rows, 3 products of T K D
    InBatchNegatives     all the same        the same, and a sort of T labels
    Mixed                as its parts        the sum of its parts
    HardBlock            either              see objectives/hard_negatives.py
    PositiveAware        as what it filters  T K comparisons more
    FromLists            either              as the uniform kind of that shape

T = B L positions, K = count, D the width of a vector; a product of T K D takes
2 T K D FLOPs, and the scores T K floats (blocks of them on a CPU).
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core import seams
from genrec_jax.core.types import Batch, Items
from genrec_jax.objectives.own_events import OwnEvents

# log of no chance at all: finite, so that nothing that is masked becomes NaN.
_NEVER = -1e9

LogQ = Callable[[Int[Array, "..."]], Float[Array, "..."]]


@dataclasses.dataclass(frozen=True)
class Positions:
  """What negatives are drawn for: the T = B S positions of a batch.

  Attributes:
    query_TD: vectors that items are scored with, not divided by a temperature.
    labels_T: item to find; 0 = none.
    where_T: positions that have a loss.
    items: the item side of the system.
    own: what the users of the positions did.
    batch: that the positions are of.
  """

  query_TD: Float[Array, "T D"]
  labels_T: Int[Array, "T"]
  where_T: Bool[Array, "T"]
  items: Items
  own: OwnEvents
  batch: Batch


@runtime_checkable
class Rule(Protocol):
  """Leaves out negatives that score like positives."""

  def keep(
    self,
    positive_T: Float[Array, "T"],
    score_TN: Float[Array, "T N"],
    cosine: Callable[[], Float[Array, "T N"]],
  ) -> Bool[Array, "T N"]:
    """Which are negatives.

    Args:
      positive_T: score of the right item.
      score_TN: scores of what was drawn.
      cosine: gives those of the vectors of what was drawn and the right item.
    """


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Item ids, and what is known of them.

  Attributes:
    ids: (T, N) of each position or (N,) shared by all; 0 = none.
    log_q: log probability that one draw gives an id; None where nobody knows.
    rules: of what scores too high; all must keep a negative.
  """

  ids: Int[Array, "*S N"]
  log_q: LogQ | None = None
  rules: tuple[Rule, ...] = ()

  @property
  def count(self) -> int:
    """N."""
    return self.ids.shape[-1]


@runtime_checkable
class Negatives(Protocol):
  """Draws negatives."""

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """What positions are compared with, in one or several parts."""


def check_count(part: object, count: int, num_items: int) -> None:
  """Raises a ValueError where more is drawn than there is.

  Args:
    part: that draws.
    count: negatives.
    num_items: V.
  """
  if count > num_items:
    raise ValueError(
      f"objective.negatives ({type(part).__name__}) draws {count:,} of a"
      f" catalogue of {num_items:,} items: set count to at most that, or take"
      " objectives.FullSoftmax, which compares with every item once."
    )


@dataclasses.dataclass(frozen=True)
class _Counted:
  """A sampler that draws `count` negatives."""

  count: int

  def __post_init__(self):
    if self.count < 1:
      raise ValueError(
        f"objective.negatives.count must be at least 1, got {self.count}."
      )


@dataclasses.dataclass(frozen=True)
class _Uniform(_Counted):
  """Items of the catalogue with equal chances, with replacement.

  As in HSTU's public code: an id may occur twice.

  Attributes:
    cap: of a catalogue of fewer than `count` items draw as many as it has;
      False: that is an error.
  """

  cap: bool = True

  def _ids(self, rng, leading, num_items) -> tuple[Drawn, ...]:
    count = min(self.count, num_items) if self.cap else self.count
    check_count(self, count, num_items)
    ids = jax.random.randint(rng, (*leading, count), 1, num_items + 1)
    log_q = -math.log(num_items)
    return (Drawn(ids, lambda i: jnp.full(i.shape, log_q, jnp.float32)),)


@dataclasses.dataclass(frozen=True)
class UniformPerPosition(_Uniform):
  """`count` items per position, uniform over the catalogue (HSTU: 128).

  2 T K D FLOPs forwards and 4 T K D backwards, on T K rows of D floats that are
  gathered, and as many gradients that are added up: the memory is T K D. Where
  the catalogue is small all items are scored instead (ops/indexed_dot.py):
  2 T V D FLOPs, and T K scores kept.
  """

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """Ids (T, count) in 1..V."""
    leading = positions.labels_T.shape
    return self._ids(rng, leading, positions.items.num_items)


@dataclasses.dataclass(frozen=True)
class UniformShared(_Uniform):
  """`count` items for the whole batch, uniform over the catalogue.

  Items without an event in the training part are drawn as any other.

  2 T K D FLOPs forwards and 4 T K D backwards, as per position, but of K rows:
  K D floats are gathered in place of T K D, which is 1 / (B L) of them. T K
  scores are in memory either way; on a CPU blocks of 4 MiB, scored twice.
  """

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """Ids (count,) in 1..V."""
    return self._ids(rng, (), positions.items.num_items)


@dataclasses.dataclass(frozen=True)
class InBatchNegatives(_Counted):
  """`count` labels of the batch itself, drawn uniformly over valid positions.

  Items come with the frequency they have as labels, so log q is the log share
  of the batch's labels that an item has. Without the correction popular items
  are punished. Cost and memory are those of UniformShared, and T log T
  comparisons for the shares.
  """

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """Ids (count,), labels of valid positions; 0 where none is valid."""
    where_T = positions.where_T
    labels_T = jnp.where(where_T, positions.labels_T, 0)
    num_valid = jnp.maximum(jnp.sum(where_T, dtype=jnp.int32), 1)
    ids = labels_T[draw_tokens(rng, where_T, self.count)]
    # Counts by sorting, so that no array is as long as the catalogue.
    sorted_T = jnp.sort(labels_T)

    def log_share(items):
      after = jnp.searchsorted(sorted_T, items, side="right")
      count = after - jnp.searchsorted(sorted_T, items, side="left")
      share = count.astype(jnp.float32) / num_valid.astype(jnp.float32)
      known = count > 0
      return jnp.where(known, jnp.log(jnp.where(known, share, 1.0)), _NEVER)

    return (Drawn(ids, log_share),)


@dataclasses.dataclass(frozen=True)
class Mixed:
  """Several kinds side by side; cost and memory are the sum of theirs.

  Of N draws, N_p of part p with chances q_p, the chance of an id is that of the
  mixture, sum of N_p q_p / N (Yang et al., WWW 2020): corrected by it, the sum
  over all draws estimates the sum over the catalogue without bias. It is not
  known where that of a part is not.

  Attributes:
    parts: the kinds.
  """

  parts: tuple[Any, ...]

  def __post_init__(self):
    if not self.parts:
      raise ValueError(
        "config.objective.negatives.parts is empty: name at least one kind."
      )
    for place, part in enumerate(self.parts):
      where = f"config.objective.negatives.parts[{place}]"
      seams.require(part, Negatives, where)

  def draw(
    self, rng: Key[Array, ""], positions: Positions
  ) -> tuple[Drawn, ...]:
    """All that the parts draw, with the chances of the mixture."""
    drawn = [
      one
      for number, part in enumerate(self.parts)
      for one in part.draw(jax.random.fold_in(rng, number), positions)
    ]
    total = sum(one.count for one in drawn)
    log_qs = [(one.log_q, one.count / total) for one in drawn]
    if any(log_q is None for log_q, _ in log_qs):
      return tuple(dataclasses.replace(one, log_q=None) for one in drawn)

    def mixture(ids):
      found = [log_q(ids) + math.log(share) for log_q, share in log_qs]
      return jax.nn.logsumexp(jnp.stack(found), axis=0)

    return tuple(dataclasses.replace(one, log_q=mixture) for one in drawn)


def draw_tokens(
  rng: Key[Array, ""], where_T: Bool[Array, "T"], count: int
) -> Int[Array, "{count}"]:
  """Indices of `count` valid tokens, each drawn uniformly; any where none is.

  The n-th valid token is where the number of valid tokens passes n. All in
  integers: float32 tells no two neighbours apart from 2^24 on, and a float32
  draw of [0, 1) has 2^23 values, which leave tokens beyond that unreached.
  """
  passed_T = jnp.cumsum(where_T.astype(jnp.int32))
  nth = jax.random.randint(rng, (count,), 0, jnp.maximum(passed_T[-1], 1))
  tokens = jnp.searchsorted(passed_T, nth, side="right")
  return jnp.minimum(tokens, where_T.shape[0] - 1)
