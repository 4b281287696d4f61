# SPDX-License-Identifier: Apache-2.0
"""Bias and mask of a stripe of pairs, inside a TPU kernel.

A stripe is R rows of one side (queries forward, keys backward) by C lanes of
the other. The time bias looks a cell up by the bits of float(dt) and settles
the bucket by one integer comparison. Where positions count the keys, the
position bias is constant along diagonals: one strip, rotated by multiples of 8
lanes, serves every row. Elsewhere it is looked up by the distance of two
places. The place of a position is where it would stand in its row if positions
counted: places of a stripe and of a tile of 128 lanes lie close, so one
look-up of 256 neighbouring distances serves nearly all of their pairs; the
pairs of a block that are farther apart are filled in beforehand (`fill_far`).
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from genrec_jax.ops.silu_attention.tpu_tables import PLACE_STEP

LANES = 128
# Row of facts that holds places.
PLACE = 3
# Rows of a look-up, at most: with 128 lanes they leave it 50 places to spare.
_PLACE_ROWS = 64


@dataclasses.dataclass(frozen=True)
class BiasKind:
  """What a kernel is compiled for.

  Attributes:
    heads: of a step.
    per_head: each head has tables of its own.
    position: add the position table's bias.
    time: add the time table's bias.
    packed: two biases of a table share a word (bfloat16).
    placed: distances are those of places, not of indices.
    slopes: ALiBi's halved slopes of all heads; () = none.
    interpret: runs on a CPU.
  """

  heads: int
  per_head: bool
  position: bool
  time: bool
  packed: bool
  placed: bool
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
      parts.append(_unpacked(take(tables[1], lane), passed))
    else:
      below, above = take(tables[1], lane), take(tables[2], lane)
      parts.append(jnp.where(passed, above, below))
  return jnp.concatenate(parts, axis=1)


def _unpacked(word: Any, upper: Any):
  """One of the two biases of each word; see tpu_tables.time_cells."""
  word = lax.bitcast_convert_type(word, jnp.int32)
  word = jnp.where(upper, word, word << 16)
  return lax.bitcast_convert_type(word, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Places:
  """Places of a block of R rows and C lanes.

  Attributes:
    rows: (R, 1).
    lanes: reference of (1, 8, C) facts, of which row PLACE is read.
    row_bounds: number of `step` rows -> their least and largest place.
    lane_bounds: number of a tile of 128 lanes -> likewise.
    step: rows of a look-up.
    zero: what distance 0 is in the table.
  """

  rows: Any
  lanes: Any
  row_bounds: Callable[[Any], tuple[Any, Any]]
  lane_bounds: Callable[[Any], tuple[Any, Any]]
  step: int
  zero: int

  @classmethod
  def of(cls, rows, lanes, bounds, blocks, step: int, zero: int) -> "Places":
    """Places of a block.

    Args:
      rows: see Places.
      lanes: see Places.
      bounds: references of tpu_tables.place_bounds of rows and of lanes.
      blocks: number of the block of rows and of that of lanes, counted through
        all rows of the batch.
      step: see Places.
      zero: see Places.
    """

    def reader(line, start):
      return lambda n: (line[2 * (start + n)], line[2 * (start + n) + 1])

    row_bounds = reader(bounds[0], blocks[0] * (rows.shape[0] // step))
    lane_bounds = reader(bounds[1], blocks[1] * (lanes.shape[2] // LANES))
    return cls(rows, lanes, row_bounds, lane_bounds, step, zero)

  def spread(self):
    """Whether pairs may be farther apart than one look-up reaches."""

    def widest(bounds, count):
      spans = [high - low for low, high in map(bounds, range(count))]
      return functools.reduce(jnp.maximum, spans)

    rows = widest(self.row_bounds, self.rows.shape[0] // self.step)
    lanes = widest(self.lane_bounds, self.lanes.shape[2] // LANES)
    return rows + lanes + PLACE_STEP > 2 * LANES

  def lane_places(self, tile: Any):
    """(1, 128)."""
    return self.lanes[0, PLACE : PLACE + 1, _tile(tile)]

  def lane_windows(self, tile: Any):
    """First of the 256 places of a tile, and how many more it spreads over."""
    low, high = self.lane_bounds(tile)
    first = low & -LANES
    return first, (high - first) // (2 * LANES)

  def steps(self, rows: range) -> list[slice]:
    """Rows of each look-up."""
    return [slice(n, n + self.step) for n in rows[:: self.step]]

  def distances(self, rows: slice, tile: Any):
    """(step, 128): what to look up, lane place minus row place + zero."""
    return self.lane_places(tile) - self.rows[rows] + self.zero

  def window(self, rows: slice, tile: Any):
    """First distance of the first look-up, and how many must follow it."""
    row_low, row_high = self.row_bounds(rows.start // self.step)
    low, high = self.lane_bounds(tile)
    first = (low - row_high + self.zero) & -PLACE_STEP
    last = high - row_low + self.zero
    return first, (last - first) // (2 * LANES)


def _tile(tile: Any):
  if isinstance(tile, int):
    return slice(LANES * tile, LANES * (tile + 1))
  return pl.ds(pl.multiple_of(LANES * tile, LANES), LANES)


def _look_up(table: Any, first: Any, distances: Any, packed: bool):
  """Half the bias where first <= distance < first + 256, and where that is.

  Args:
    table: reference of (8, W) tpu_tables.place_rows.
    first: a multiple of PLACE_STEP.
    distances: (R, 128).
    packed: see there.
  """
  row = (first // PLACE_STEP) & 7
  index = distances - first
  lane, upper = index & (LANES - 1), (index & LANES) != 0

  def taken(tile):
    # Loads start at whole tiles: the row turns to the front.
    part = pltpu.roll(table[:, _tile(tile)], (8 - row) & 7, 0)[0:1]
    return take(jnp.broadcast_to(part, index.shape), lane)

  near = taken(first // LANES)
  if packed:
    value = _unpacked(near, upper)
  else:
    value = jnp.where(upper, taken(first // LANES + 1), near)
  return value, (index >> 8) == 0


def place_bias(table: Any, places: Places, rows: range, far: Any, packed: bool):
  """Half the position bias of some rows of a block.

  Args:
    table: see _look_up.
    places: of the block.
    rows: of it.
    far: reference of (block's rows, C): what `fill_far` left.
    packed: see _look_up.
  """

  def of_tile(rows, tile):
    first, _ = places.window(rows, tile)
    distances = places.distances(rows, tile)
    value, inside = _look_up(table, first, distances, packed)
    return jnp.where(inside, value, far[rows, _tile(tile)])

  tiles = range(far.shape[1] // LANES)
  parts = [[of_tile(n, tile) for tile in tiles] for n in places.steps(rows)]
  return jnp.concatenate([jnp.concatenate(x, axis=1) for x in parts], axis=0)


def fill_far(table: Any, places: Places, far: Any, packed: bool) -> None:
  """Writes what one look-up does not reach; see place_bias."""
  tiles = jnp.where(places.spread(), far.shape[1] // LANES, 0)
  for rows in places.steps(range(far.shape[0])):

    def of_tile(tile, carry, rows=rows):
      start, more = places.window(rows, tile)
      distances = places.distances(rows, tile)

      def follow(n, carry):
        first = start + 2 * LANES * n
        value, inside = _look_up(table, first, distances, packed)
        at = rows, _tile(tile)
        far[at] = jnp.where(inside, value, far[at])
        return carry

      return lax.fori_loop(1, more + 1, follow, carry)

    lax.fori_loop(0, tiles, of_tile, 0)


def place_step(stripe: int) -> int:
  """Rows of a look-up in a kernel of such stripes."""
  return min(stripe, _PLACE_ROWS)


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
