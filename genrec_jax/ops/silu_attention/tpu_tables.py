# SPDX-License-Identifier: Apache-2.0
"""Tables and per-row facts in the shapes the TPU kernels read.

    cells     (G, rows, 128)  a time bucket's threshold and bias, by the cell
                              of the time difference (ops/time_buckets.py)
    position  (G, 8, W)       the bias by distance, row s shifted right by s
    places    (G, 8, W)       the same to be looked up, row s from lane 16 s on
    facts     (B, 8, L)       integers per query or key, lane-major

G is 1, or the number of heads where each has tables of its own. Biases are
halved: the kernels compute SiLU(2 h) = h (1 + tanh h).
"""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.time_buckets import bucket_cells, bucket_thresholds

_LANES = 128
# Rows of `places` start so many lanes apart: 8 of them make a tile.
PLACE_STEP = _LANES // 8
_INT32_MAX = np.iinfo(np.int32).max
# Cell 0 holds dt = 1: exponent 127, and 127 * 4 mod 128 = 124.
_FIRST_LANE = 124


def _by_lane(values: np.ndarray) -> np.ndarray:
  """Values of cells 0, 1, ... at the lanes that the kernels compute."""
  lanes = np.zeros(_LANES, values.dtype)
  lanes[(np.arange(len(values)) + _FIRST_LANE) % _LANES] = values
  return lanes


def time_cells(
  table: Float[Array, "*G T"], width: float, packed: bool
) -> Float[Array, "G rows 128"]:
  """Rows: threshold (int32 bits), then the biases below it and from it on.

  Packed, both biases share a word: bfloat16 each, where the upper one's
  rounding accounts for the lower one's bits, which the kernel does not mask.
  """
  cells = bucket_cells(width)
  half = 0.5 * jnp.atleast_2d(table.astype(jnp.float32))
  last = half.shape[1] - 1
  below = half[:, _by_lane(np.minimum(cells.below, last))]
  above = half[:, _by_lane(np.minimum(cells.above, last))]
  threshold = jnp.asarray(_by_lane(cells.threshold))
  threshold = jnp.broadcast_to(threshold, below.shape)
  rows = [lax.bitcast_convert_type(threshold, jnp.float32)]
  rows += [_pack(below, above)] if packed else [below, above]
  rows += [jnp.zeros_like(below)] * (8 - len(rows))
  return jnp.stack(rows, axis=1)


def _pack(below, above):
  low = lax.bitcast_convert_type(below.astype(jnp.bfloat16), jnp.uint16)
  low = low.astype(jnp.int32)
  bits = lax.bitcast_convert_type(above, jnp.int32)
  size = jnp.maximum(((bits & _INT32_MAX) - low + 0x8000) >> 16, 0)
  sign = bits & np.int32(-(2**31))
  return lax.bitcast_convert_type(sign | (size << 16) | low, jnp.float32)


def bucket_ends(width: float, num_buckets: int) -> Int[np.ndarray, "8 128"]:
  """First time difference past each bucket, by lane; int32 max past the last.

  Row 0 counts; 8 rows make a tile.
  """
  ends = np.full(_LANES, _INT32_MAX, np.int32)
  thresholds = np.array(bucket_thresholds(width)[: num_buckets - 1])
  ends[: len(thresholds)] = thresholds
  return np.broadcast_to(ends, (8, _LANES)).copy()


def bucket_sums_to_table(
  sums: Float[Array, "G 8 128"], num_buckets: int
) -> Float[Array, "G T"]:
  """Sums of gradients over buckets <= b, by lane -> gradient of each bucket."""
  total = jnp.sum(sums, axis=1)
  each = jnp.diff(total, axis=1, prepend=jnp.zeros_like(total[:, :1]))
  missing = max(0, num_buckets - _LANES)
  return jnp.pad(each, [(0, 0), (0, missing)])[:, :num_buckets]


def position_rows(
  table: Float[Array, "*G n"], size: int, zero: int, flip: bool
) -> Float[Array, "G 8 W"]:
  """Row s, lane x: half the bias of distance x - s - zero.

  Linear in the table, and made of slices alone, so its transpose, which gives
  the table's gradient, needs no scatter.

  Args:
    table: 2n - 1 biases by distance; the outermost ones hold beyond.
    size: W.
    zero: lane of distance 0 in row 0.
    flip: the lanes are queries and the rows keys: distances change sign.
  """
  # Entry x of `wide` is of distance x - 7 - zero.
  wide = _stretched(table, size + 7, zero + 7, flip)
  return jnp.stack([wide[:, 7 - s : 7 - s + size] for s in range(8)], axis=1)


def place_rows(
  table: Float[Array, "*G n"], size: int, zero: int, flip: bool, packed: bool
) -> Float[Array, "G 8 W"]:
  """Row s, lane x: half the bias of distance x + 16 s - zero.

  Packed, a word holds that of 128 farther besides; see time_cells.

  Args:
    table: as in position_rows.
    size: W.
    zero: lane of distance 0 in row 0.
    flip: as in position_rows.
    packed: two biases in a word.
  """
  last = PLACE_STEP * 7
  wide = _stretched(table, size + last + _LANES, zero, flip)
  if packed:
    wide = _pack(wide[:, :-_LANES], wide[:, _LANES:])
  starts = range(0, last + 1, PLACE_STEP)
  return jnp.stack([wide[:, s : s + size] for s in starts], axis=1)


def _stretched(table, size, zero, flip):
  """(G, size): entry x is half the bias of distance x - zero."""
  half = 0.5 * jnp.atleast_2d(table.astype(jnp.float32))
  half = half[:, ::-1] if flip else half
  reach = half.shape[1] // 2
  before, after = zero - reach, size - zero - 1 - reach
  return jnp.concatenate(
    [
      jnp.repeat(half[:, :1], max(0, before), axis=1),
      half[:, max(0, -before) : half.shape[1] - max(0, -after)],
      jnp.repeat(half[:, -1:], max(0, after), axis=1),
    ],
    axis=1,
  )


def place_bounds(places_BL: Int[Array, "B L"], size: int) -> Int[Array, "n"]:
  """Least and largest of every `size` places, row after row, in one line.

  Scalars of two dimensions would take a tile of memory per row of the batch.
  """
  parts = places_BL.reshape(places_BL.shape[0], -1, size)
  return jnp.stack([parts.min(axis=2), parts.max(axis=2)], axis=2).reshape(-1)


def segment_bounds(
  segments_BL: Int[Array, "B L"],
) -> tuple[Int[Array, "B L"], Int[Array, "B L"]]:
  """First index of each position's segment, and the index past its last."""
  length = segments_BL.shape[1]
  index = lax.broadcasted_iota(jnp.int32, segments_BL.shape, 1)
  edge = jnp.full_like(segments_BL[:, :1], -1)
  before = jnp.concatenate([edge, segments_BL[:, :-1]], axis=1)
  after = jnp.concatenate([segments_BL[:, 1:], edge], axis=1)
  start = lax.cummax(jnp.where(segments_BL != before, index, 0), axis=1)
  end = lax.cummin(
    jnp.where(segments_BL != after, index + 1, length), axis=1, reverse=True
  )
  return start, end


def stack_facts(*rows: Array) -> Int[Array, "B 8 L"]:
  """Int32 or float32 (B, L) arrays as rows of one; zeros fill up 8 rows."""

  def as_int(x):
    if x.dtype == jnp.float32:
      return lax.bitcast_convert_type(x, jnp.int32)
    return x.astype(jnp.int32)

  rows = [as_int(x) for x in rows]
  rows += [jnp.zeros_like(rows[0])] * (8 - len(rows))
  return jnp.stack(rows, axis=1)


def interleaved_times(
  times_BQ: Int[Array, "B Q"], block: int
) -> Int[Array, "blocks 8 128"]:
  """Times of each block of queries: row r, lane g = query g * (block/128) + r.

  One row decimates the block: a search over its 128 lanes finds a group of
  queries, and the rows tell the place within it.
  """
  tiles = block // _LANES
  # The largest number is no time but the end of the open bucket.
  times_BQ = jnp.minimum(times_BQ, _INT32_MAX - 1)
  groups = times_BQ.reshape(-1, _LANES, tiles)
  rows = jnp.moveaxis(groups, 2, 1)
  return jnp.pad(rows, [(0, 0), (0, 8 - tiles), (0, 0)])


def block_bounds(
  first_BQ: Int[Array, "B Q"],
  end_BQ: Int[Array, "B Q"],
  size_q: int,
  size_k: int,
  num_keys: int,
) -> tuple[Array, Array, Array, Array]:
  """Blocks that must be computed: key blocks by query block, and back.

  Returns:
    first and end (exclusive) key block of each query block (B, Q / size_q),
    then first and end query block of each key block (B, M / size_k).
  """
  batch = first_BQ.shape[0]
  blocks = (batch, -1, size_q)
  first, last = first_BQ.reshape(blocks), end_BQ.reshape(blocks)
  first = jnp.where(last > first, first, num_keys).min(axis=2)
  last = last.max(axis=2)
  low = jnp.minimum(first // size_k, num_keys // size_k - 1)
  high = jnp.maximum(-(-last // size_k), low)
  keys = jnp.arange(num_keys // size_k)[None, None, :]
  seen = (keys >= low[:, :, None]) & (keys < high[:, :, None])
  count = seen.shape[1]
  index = lax.broadcasted_iota(jnp.int32, seen.shape, 1)
  back_low = jnp.where(seen, index, count - 1).min(axis=1)
  back_high = jnp.where(seen, index + 1, 0).max(axis=1)
  back_high = jnp.maximum(back_high, back_low)
  return tuple(x.astype(jnp.int32) for x in (low, high, back_low, back_high))
