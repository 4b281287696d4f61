# SPDX-License-Identifier: Apache-2.0
"""Embedding tables for items and positions.

Row 0 of the item table is padding. Its value is never seen (padding is
masked) and its gradient is zero, so it stays what the initialiser made it.

Ids are int32, so a table has fewer than 2^31 rows. More parameters come by
wider rows that are projected down: 1.5e9 rows of 1,024 are 1.5e12. A mesh that
splits a table by rows needs a multiple of its devices: `row_multiple` fills it
up by rows that no id names. Both are part of the model and not of the mesh, so
that a checkpoint fits every mesh.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.ops.embedding_lookup import embedding_lookup, whole_table

_MAX_ROWS = 2**31 - 1


def count_rows(num_items: int, row_multiple: int = 1) -> int:
  """Rows of a table of items: padding, num_items, and those that fill it up.

  Raises:
    ValueError: more than int32 ids can name.
  """
  if row_multiple < 1:
    raise ValueError(f"row_multiple must be at least 1, got {row_multiple}.")
  rows = -(-(num_items + 1) // row_multiple) * row_multiple
  if rows > _MAX_ROWS:
    raise ValueError(
      f"{num_items:,} items need a table of {rows:,} rows, and item ids are"
      f" int32: {_MAX_ROWS:,} rows are the most that they can name. For more"
      " parameters use wider rows (row_width), not more of them."
    )
  return rows


class ItemEmbedding(nn.Module):
  """Table of atomic item ids; normal(0, init_std) at start.

  Attributes:
    num_items: V; the table has V + 1 rows, and those that fill it up.
    width: D of the vectors.
    init_std: of the rows.
    row_width: of the rows, projected to D without a bias; None = D, no
      projection.
    row_multiple: the number of rows is a multiple of it.
  """

  num_items: int
  width: int
  init_std: float = 0.02
  row_width: int | None = None
  row_multiple: int = 1

  @nn.compact
  def __call__(self, ids: Int[Array, "..."] | None) -> Float[Array, "... D"]:
    """Vectors of the ids in float32, or those of the whole table for None."""
    rows = count_rows(self.num_items, self.row_multiple)
    table = self.param(
      "embedding",
      nn.initializers.normal(self.init_std),
      (rows, self.row_width or self.width),
      jnp.float32,
    )
    found = whole_table(table) if ids is None else embedding_lookup(table, ids)
    if self.row_width is None:
      return found
    return nn.Dense(self.width, use_bias=False, name="down")(found)


class PositionEmbedding(nn.Module):
  """One learned vector per position within a segment, oldest event first."""

  num_positions: int
  width: int
  init_std: float = 0.02

  @nn.compact
  def __call__(self, positions_BL: Int[Array, "B L"]) -> Float[Array, "B L D"]:
    """Vectors of the positions, in float32."""
    table = self.param(
      "embedding",
      nn.initializers.normal(self.init_std),
      (self.num_positions, self.width),
      jnp.float32,
    )
    return table[positions_BL]
