# SPDX-License-Identifier: Apache-2.0
"""Pairs of a token and an expert, in blocks of rows of one expert.

    plan = Plan.of(experts_TK, E, share)
    for number in range(plan.num_blocks):        a number that the data decide
      block = plan.block(number)
      y_TD = block.add_to_tokens(y_TD, FFN(block.of_tokens(x_TD), ...))

Pairs are sorted by expert; each expert's fill as many blocks as they need, and
rows of its last block that are left over are nowhere: they read 0, and what is
put there is lost. Pairs of expert E are in no block.
Shapes: T tokens, E experts, K experts of a token, N = T K pairs, b rows.
"""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

# A block's rows are a power of two, between a quarter and a half of what an
# expert has where load is even: then about a sixth of all rows is empty.
_FEWEST_ROWS, _MOST_ROWS = 8, 512


@dataclasses.dataclass(frozen=True)
class Block:
  """Some tokens of one expert.

  Attributes:
    expert: its number, a scalar.
    pairs_b: numbers of the pairs, t K + k; from N on: nowhere.
    tokens_b: their tokens; from T on: nowhere.
  """

  expert: Array
  pairs_b: Array
  tokens_b: Array

  def of_expert(self, weights: Any) -> Any:
    """The expert's part of arrays (E, ...)."""
    return jax.tree.map(
      lambda w: lax.dynamic_index_in_dim(w, self.expert, keepdims=False),
      weights,
    )

  def of_tokens(self, x_TD: Shaped[Array, "T D"]) -> Shaped[Array, "b D"]:
    """Rows of the tokens; 0 nowhere."""
    return x_TD.at[self.tokens_b].get(mode="fill", fill_value=0)

  def of_pairs(self, values_TK: Shaped[Array, "T K"]) -> Shaped[Array, "b"]:
    """Values of the pairs; 0 nowhere."""
    return values_TK.ravel().at[self.pairs_b].get(mode="fill", fill_value=0)

  def add_to_tokens(
    self, total_TD: Float[Array, "T D"], rows_bD: Float[Array, "b D"]
  ) -> Float[Array, "T D"]:
    """Adds rows to their tokens, of which each is here once."""
    return total_TD.at[self.tokens_b].add(
      rows_bD.astype(total_TD.dtype), mode="drop", unique_indices=True
    )

  def put_to_pairs(
    self, values_TK: Float[Array, "T K"], values_b: Float[Array, "b"]
  ) -> Float[Array, "T K"]:
    """Sets values of the pairs."""
    values_N = values_TK.ravel()
    values_N = values_N.at[self.pairs_b].set(
      values_b.astype(values_N.dtype), mode="drop", unique_indices=True
    )
    return values_N.reshape(values_TK.shape)

  def add_to_expert(self, totals: Any, parts: Any) -> Any:
    """Adds to the expert's part of arrays (E, ...)."""

    def add(total, part):
      before = lax.dynamic_index_in_dim(total, self.expert, keepdims=False)
      after = before + part.astype(total.dtype)
      return lax.dynamic_update_index_in_dim(total, after, self.expert, 0)

    return jax.tree.map(add, totals, parts)


@dataclasses.dataclass(frozen=True)
class Plan:
  """See the module docstring.

  Attributes:
    order_N: the pairs in the order of their experts; behind them one block
      more, so that no slice ends beyond.
    first_E: where an expert's pairs begin.
    count_E: how many there are.
    blocks_E: blocks of the experts up to and with this one.
    num_tokens: T.
    per_token: K.
    rows: b.
  """

  order_N: Array
  first_E: Array
  count_E: Array
  blocks_E: Array
  num_tokens: int
  per_token: int
  rows: int

  @classmethod
  def of(
    cls, experts_TK: Int[Array, "T K"], num_experts: int, share: float
  ) -> "Plan":
    """The blocks of all pairs.

    Args:
      experts_TK: 0 .. E - 1, or E for none.
      num_experts: E.
      share: of the tokens, that an expert takes on average; for b.
    """
    num_tokens, per_token = experts_TK.shape
    rows = block_rows(num_tokens * share)
    experts_N = experts_TK.ravel()
    order_N = jnp.argsort(experts_N).astype(jnp.int32)
    edges = jnp.searchsorted(experts_N[order_N], jnp.arange(num_experts + 1))
    edges = edges.astype(jnp.int32)
    count_E = edges[1:] - edges[:-1]
    return cls(
      order_N=jnp.pad(order_N, (0, rows)),
      first_E=edges[:-1],
      count_E=count_E,
      blocks_E=jnp.cumsum(-(-count_E // rows)),
      num_tokens=num_tokens,
      per_token=per_token,
      rows=rows,
    )

  @property
  def num_blocks(self) -> Int[Array, ""]:
    """How many blocks the pairs fill."""
    return self.blocks_E[-1]

  def block(self, number: Int[Array, ""]) -> Block:
    """A block by its number, from 0 to num_blocks - 1."""
    expert = jnp.sum(self.blocks_E <= number, dtype=jnp.int32)
    before = jnp.where(expert > 0, self.blocks_E[expert - 1], 0)
    done = (number - before) * self.rows
    pairs_b = lax.dynamic_slice_in_dim(
      self.order_N, self.first_E[expert] + done, self.rows
    )
    row_b = jnp.arange(self.rows, dtype=jnp.int32)
    there_b = row_b < self.count_E[expert] - done
    num_pairs = self.num_tokens * self.per_token
    return Block(
      expert,
      jnp.where(there_b, pairs_b, num_pairs + row_b),
      jnp.where(there_b, pairs_b // self.per_token, self.num_tokens + row_b),
    )


def block_rows(tokens: float) -> int:
  """b where an expert has so many tokens on average."""
  rows = _FEWEST_ROWS
  while rows < _MOST_ROWS and 4 * rows <= tokens:
    rows *= 2
  return rows
