# SPDX-License-Identifier: Apache-2.0
"""Buckets of time differences, as integer thresholds.

HSTU (arXiv 2402.17152; formula as in its public research code):

    bucket(dt) = clamp(floor(ln(max(1, |dt|)) / width), 0, num_buckets - 1)

in seconds, with width .301 and 129 buckets (whole seconds in int32 never pass
bucket 71). A floating-point logarithm disagrees between devices at some
integers (dt = 309279, 417901, ...). So buckets are integer thresholds, derived
once from the correctly rounded float32 logarithm, and found without one: the
exponent and the first bits of the mantissa of float(dt) name a cell, which is
narrower than a bucket and so holds at most one threshold to compare with.
"""

import dataclasses
import functools
import math

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

BUCKET_WIDTH = 0.301
NUM_BUCKETS = 129
_INT32_MAX = np.iinfo(np.int32).max
# One bucket more than none: ln(2^31) is 21.5.
_WIDEST = 21.0


def _float32_bucket(seconds: np.ndarray, width: float) -> np.ndarray:
  """The bucket of whole seconds >= 1 by the float32 formula, unclamped."""
  log = np.log(seconds.astype(np.float32).astype(np.float64))
  return np.floor(log.astype(np.float32) / np.float32(width)).astype(np.int64)


@functools.lru_cache
def bucket_thresholds(width: float = BUCKET_WIDTH) -> tuple[int, ...]:
  """Smallest whole number of seconds of buckets 1, 2, ... within int32.

  Args:
    width: width of a bucket in natural-log units.

  Returns:
    Increasing thresholds; bucket b holds thresholds[b - 1] <= dt <
    thresholds[b]. A bucket that no whole number falls into shares its
    threshold with the next.
  """
  if not 0 < width <= _WIDEST:
    raise ValueError(
      f"bucket width must be positive and at most {_WIDEST}, got {width}."
    )
  last = int(_float32_bucket(np.array([_INT32_MAX]), width)[0])
  low = np.ones(last, np.int64)
  high = np.full(last, _INT32_MAX, np.int64)
  buckets = np.arange(1, last + 1)
  # The formula never decreases in dt: bisect all thresholds at once.
  while np.any(low < high):
    middle = (low + high) // 2
    reached = _float32_bucket(middle, width) >= buckets
    high = np.where(reached, middle, high)
    low = np.where(reached, low, middle + 1)
  return tuple(int(x) for x in high)


@dataclasses.dataclass(frozen=True)
class BucketCells:
  """Buckets by cell: `above[c]` from threshold[c] on, `below[c]` before it.

  Attributes:
    mantissa_bits: cells per power of two, as a power of two.
    threshold: first dt of the cell's upper bucket; int32 max where it has one
      bucket alone.
    below: bucket under the threshold, not clamped to a number of buckets.
    above: bucket from the threshold on.
  """

  mantissa_bits: int
  threshold: np.ndarray
  below: np.ndarray
  above: np.ndarray


def _cell(seconds: np.ndarray, mantissa_bits: int) -> np.ndarray:
  bits = seconds.astype(np.float32).view(np.int32)
  return (bits >> (23 - mantissa_bits)) - (127 << mantissa_bits)


@functools.lru_cache
def bucket_cells(width: float = BUCKET_WIDTH) -> BucketCells:
  """The cells of a bucket width; 2 mantissa bits (125 cells) for .301.

  Raises:
    ValueError: a width that is not positive, or below 2^-8.
  """
  thresholds = np.array(bucket_thresholds(width), np.int64)
  if width < 2**-8:
    raise ValueError(f"bucket width {width} is below {2**-8}.")
  bits = max(2, math.ceil(-math.log2(math.expm1(width)) + 1e-9))
  num_cells = (31 << bits) + 1
  # First whole number of each cell, by bisection: the cell never decreases.
  low = np.ones(num_cells, np.int64)
  high = np.full(num_cells, _INT32_MAX, np.int64)
  while np.any(low < high):
    middle = (low + high) // 2
    reached = _cell(middle, bits) >= np.arange(num_cells)
    high = np.where(reached, middle, high)
    low = np.where(reached, low, middle + 1)
  last = np.append(np.maximum(high[1:] - 1, high[:-1]), _INT32_MAX)
  below = np.searchsorted(thresholds, high, "right")
  above = np.searchsorted(thresholds, last, "right")
  # The first threshold after the cell's start; several may share one value.
  follows = np.append(thresholds, _INT32_MAX)[below]
  threshold = np.where(above > below, follows, _INT32_MAX)
  if np.any((above > below) & (thresholds[above - 1] != threshold)):
    raise ValueError(f"a cell holds two thresholds of width {width}.")
  return BucketCells(
    mantissa_bits=bits,
    threshold=threshold.astype(np.int32),
    below=below.astype(np.int32),
    above=above.astype(np.int32),
  )


def time_buckets(
  seconds: Int[Array, "..."],
  width: float = BUCKET_WIDTH,
  num_buckets: int = NUM_BUCKETS,
) -> Int[Array, "..."]:
  """Bucket ids of time differences, by integer thresholds.

  Args:
    seconds: time differences in whole seconds, any sign, int32.
    width: bucket width in natural-log units.
    num_buckets: ids are clamped to num_buckets - 1.
  """
  cells = bucket_cells(width)
  # The least int32 has no absolute value of its own.
  seconds = jnp.maximum(jnp.abs(jnp.maximum(seconds, -_INT32_MAX)), 1)
  cell = cell_of(seconds, cells.mantissa_bits)

  def look_up(table):
    return jnp.asarray(table).at[cell].get(mode="promise_in_bounds")

  # Both buckets in one word: a look-up costs more than a shift.
  below, above = (
    np.minimum(x, num_buckets - 1) for x in (cells.below, cells.above)
  )
  both = look_up(((above << 16) | below).astype(np.int32))
  return jnp.where(
    seconds >= look_up(cells.threshold), both >> 16, both & 0xFFFF
  )


def cell_of(
  seconds: Int[Array, "..."], mantissa_bits: int
) -> Int[Array, "..."]:
  """The cell of seconds >= 1: exponent and first mantissa bits."""
  bits = lax.bitcast_convert_type(seconds.astype(jnp.float32), jnp.int32)
  return (bits >> (23 - mantissa_bits)) - (127 << mantissa_bits)
