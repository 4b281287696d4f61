# SPDX-License-Identifier: Apache-2.0
"""Bias and mask of a stripe of pairs, inside a TPU kernel.

A stripe is R rows of one side (queries forward, keys backward) by C lanes of
the other. The time bias looks a cell up by the bits of float(dt) and settles
the bucket by one integer comparison. The position bias is constant along
diagonals: one strip, rotated by multiples of 8 lanes, serves every row.
"""

import dataclasses
from typing import Any

from jax import lax
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

LANES = 128


@dataclasses.dataclass(frozen=True)
class BiasKind:
  """What a kernel is compiled for.

  Attributes:
    heads: of a step.
    per_head: each head has tables of its own.
    position: add the position table's bias.
    time: add the time table's bias.
    packed: the time table's two biases share a word (bfloat16).
    own: a query may see its own key outside its interval.
    slopes: ALiBi's halved slopes of all heads; () = none.
    interpret: runs on a CPU.
  """

  heads: int
  per_head: bool
  position: bool
  time: bool
  packed: bool
  own: bool
  slopes: tuple[float, ...]
  interpret: bool

  @property
  def tables(self) -> int:
    """Tables of a step."""
    return self.heads if self.per_head else 1

  def heads_of(self, table: int) -> range:
    """Heads of a step that share a table."""
    return range(table, table + 1) if self.per_head else range(self.heads)


def rotations(strip: Any) -> list[Any]:
  """(8, W) rotated right by 0, 8, ..., 120 lanes."""
  return [pltpu.roll(strip, 8 * c, 1) if c else strip for c in range(16)]


def position_bias(rotated: list[Any], rows: range, lanes: int, size: int):
  """Rows of a block of `size` rows: row r is the strip shifted right by r."""
  parts = []
  for group in range(rows.start // 8, rows.stop // 8):
    at = size - LANES * (group // 16)
    parts.append(rotated[group % 16][:, at : at + lanes])
  return jnp.concatenate(parts, axis=0)


def take(table: Any, lane: Any):
  """table[r, lane[r, l]] of (R, 128) tiles."""
  return jnp.take_along_axis(table, lane, axis=1, mode="promise_in_bounds")


def time_bias(seconds: Any, cells: Any, packed: bool):
  """Half the time bias of time differences (R, C).

  Args:
    seconds: query time minus key time, of any sign.
    cells: rows of tpu_tables.time_cells.
    packed: see there.
  """
  rows, lanes = seconds.shape
  seconds = jnp.abs(seconds)
  bits = lax.bitcast_convert_type(
    jnp.maximum(seconds.astype(jnp.float32), 1.0), jnp.int32
  )
  cell = (bits >> 21) & (LANES - 1)
  tables = [jnp.broadcast_to(cells[i : i + 1], (rows, LANES)) for i in range(3)]
  parts = []
  for at in range(0, lanes, LANES):
    lane = cell[:, at : at + LANES]
    threshold = lax.bitcast_convert_type(take(tables[0], lane), jnp.int32)
    passed = seconds[:, at : at + LANES] >= threshold
    if packed:
      word = lax.bitcast_convert_type(take(tables[1], lane), jnp.int32)
      word = jnp.where(passed, word, word << 16)
      parts.append(lax.bitcast_convert_type(word, jnp.float32))
    else:
      below, above = take(tables[1], lane), take(tables[2], lane)
      parts.append(jnp.where(passed, above, below))
  return jnp.concatenate(parts, axis=1)


def add(x: Any, y: Any):
  """x + y, either of which may be None."""
  if x is None or y is None:
    return y if x is None else x
  return x + y


def product(x: Any, y: Any, dims: tuple[tuple[int], tuple[int]]):
  """Matrix product in float32; float32 operands are not rounded."""
  precise = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
  return lax.dot_general(
    x,
    y,
    (dims, ((), ())),
    precision=precise,
    preferred_element_type=jnp.float32,
  )
