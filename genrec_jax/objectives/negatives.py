# SPDX-License-Identifier: Apache-2.0
"""Where the negatives of sampled softmax come from.

A sampler answers sampler(rng, labels_T, where_T, num_items) with Negatives:
item ids, one list per token (T, N) or one list for all (N,), and the log
probability with which each was drawn, for the logQ correction.

Drawing is with replacement, as in HSTU's public code, so an id may occur
twice and may equal the positive (the objective masks such accidental hits).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


@dataclasses.dataclass(frozen=True)
class Negatives:
  """Sampled item ids and how likely each item was to be drawn.

  Attributes:
    ids: (T, N) per token or (N,) shared by all tokens.
    log_q: log probability of one draw giving that id, same shape as ids.
    label_log_q_T: the same for each token's positive.
  """

  ids: Int[Array, "*shape"]
  log_q: Float[Array, "*shape"]
  label_log_q_T: Float[Array, "T"]


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
class UniformPerPosition(_Counted):
  """`count` items per position, uniform over the catalogue (HSTU: 128)."""

  def __call__(
    self,
    rng: Key[Array, ""],
    labels_T: Int[Array, "T"],
    where_T: Bool[Array, "T"],
    num_items: int,
  ) -> Negatives:
    """Ids (T, count) in 1..num_items."""
    del where_T
    shape = (labels_T.shape[0], self.count)
    return _uniform(rng, shape, labels_T, num_items)


@dataclasses.dataclass(frozen=True)
class UniformShared(_Counted):
  """`count` items for the whole batch, uniform over the catalogue."""

  def __call__(
    self,
    rng: Key[Array, ""],
    labels_T: Int[Array, "T"],
    where_T: Bool[Array, "T"],
    num_items: int,
  ) -> Negatives:
    """Ids (count,) in 1..num_items."""
    del where_T
    return _uniform(rng, (self.count,), labels_T, num_items)


@dataclasses.dataclass(frozen=True)
class InBatchNegatives(_Counted):
  """`count` labels of the batch itself, drawn uniformly over valid tokens.

  Items come with the frequency they have as labels, so log_q is the log share
  of the batch's labels that an item has. Without the correction popular items
  are punished.
  """

  def __call__(
    self,
    rng: Key[Array, ""],
    labels_T: Int[Array, "T"],
    where_T: Bool[Array, "T"],
    num_items: int,
  ) -> Negatives:
    """Ids (count,), labels of valid tokens; 0 where no token is valid."""
    del num_items
    labels_T = jnp.where(where_T, labels_T, 0)
    num_valid = jnp.maximum(jnp.sum(where_T, dtype=jnp.int32), 1)
    ids = labels_T[draw_tokens(rng, where_T, self.count)]
    # Counts by sorting, so that no array is as long as the catalogue.
    sorted_T = jnp.sort(labels_T)

    def log_share(items):
      after = jnp.searchsorted(sorted_T, items, side="right")
      count = after - jnp.searchsorted(sorted_T, items, side="left")
      count = jnp.maximum(count, 1).astype(jnp.float32)
      return jnp.log(count / num_valid.astype(jnp.float32))

    return Negatives(ids, log_share(ids), log_share(labels_T))


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


def _uniform(rng, shape, labels_T, num_items) -> Negatives:
  ids = jax.random.randint(rng, shape, 1, num_items + 1)
  log_q = -jnp.log(jnp.float32(num_items))
  return Negatives(ids, jnp.full(shape, log_q), jnp.full(labels_T.shape, log_q))
