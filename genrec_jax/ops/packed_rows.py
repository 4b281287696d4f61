# SPDX-License-Identifier: Apache-2.0
"""Packed rows: attention a few rows at a time, and where each row ends."""

from collections.abc import Callable
from typing import Any

import jax
from jax import export, lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.ops.blocks import join, split

# Rows at a time on a CPU; the scores of 8 rows of 200 take 1.3 MB.
_BLOCK_ROWS = 8


def map_row_blocks(
  fn: Callable[[Any], Float[Array, "b ..."]], arrays: Any
) -> Float[Array, "B ..."]:
  """fn over blocks of rows, one after the other; equals fn over all rows.

  Scores of a whole batch leave a CPU's cache, those of a block do not. Of a
  number of rows that is not known (a symbol of jax.export) all are one block.

  Args:
    fn: arrays of a block -> one array with the rows of the block.
    arrays: pytree whose leaves have the rows B as leading dimension.
  """
  rows = jax.tree.leaves(arrays)[0].shape[0]
  if export.is_symbolic_dim(rows):
    return fn(arrays)
  block = max(n for n in range(1, _BLOCK_ROWS + 1) if rows % n == 0)
  count = rows // block
  y = lax.map(fn, jax.tree.map(lambda x: split(x, count), arrays))
  return join(y, rows)


def last_of_rows(
  x_BLD: Float[Array, "B L D"], segment_ids_BL: Int[Array, "B L"]
) -> Float[Array, "B D"]:
  """Each row's vector at its last place before padding; the first of none."""
  last_B = jnp.sum(segment_ids_BL > 0, axis=1) - 1
  last_B11 = jnp.maximum(last_B, 0)[:, None, None]
  return jnp.take_along_axis(x_BLD, last_B11, axis=1)[:, 0]
