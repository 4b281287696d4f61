# SPDX-License-Identifier: Apache-2.0
"""Which rows of a table are equal, without comparing all pairs.

    first_equal([[1, 2], [3, 4], [1, 2]]) = [0, 1, 0]

Rows are sorted by two hashes of 32 bits: the bits of each entry are mixed in a
way of its column, and added up. Sums of integers are exact in any order, so
equal rows have equal hashes on every device and layout. Two rows that differ
pass for equal with a probability of about 2^-64. N rows of width D cost
O(N D + N log N); 0.0 and -0.0 are equal.
"""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32
import numpy as np

_MINUS_ZERO = np.uint32(1 << 31)


def row_hashes(rows_ND: Float[Array, "N D"]) -> UInt32[Array, "2 N"]:
  """Two numbers for each row, equal for equal rows."""
  bits_ND = lax.bitcast_convert_type(rows_ND.astype(jnp.float32), jnp.uint32)
  bits_ND = jnp.where(bits_ND == _MINUS_ZERO, jnp.uint32(0), bits_ND)
  rng = np.random.default_rng(0)

  def one():
    shape = (3, 1, rows_ND.shape[1])
    first, add, second = rng.integers(2**32, size=shape, dtype=np.uint32)
    # Odd factors lose no bit; shifts bring high bits down to low ones.
    mixed_ND = bits_ND * (first | 1) + add
    mixed_ND = (mixed_ND ^ (mixed_ND >> 15)) * (second | 1)
    mixed_ND = mixed_ND ^ (mixed_ND >> 16)
    return jnp.sum(mixed_ND, axis=1, dtype=jnp.uint32)

  return jnp.stack([one(), one()])


def first_equal(
  rows_ND: Float[Array, "N D"], where_N: Bool[Array, "N"] | None = None
) -> Int[Array, "N"]:
  """Index of the first row that equals each row; its own if there is none.

  Args:
    rows_ND: what is compared.
    where_N: rows that count; the others equal nothing and get index N.
  """
  count = rows_ND.shape[0]
  if where_N is None:
    where_N = jnp.ones(count, bool)
  hashes_2N = row_hashes(rows_ND)
  # Stable: of equal rows the first comes first.
  order_N = jnp.lexsort((hashes_2N[0], hashes_2N[1], ~where_N))
  sorted_2N = hashes_2N[:, order_N]
  starts_n = jnp.any(sorted_2N[:, 1:] != sorted_2N[:, :-1], axis=0)
  starts_N = jnp.concatenate([jnp.ones(min(count, 1), bool), starts_n])
  place_N = lax.cummax(jnp.where(starts_N, jnp.arange(count), 0))
  found_N = jnp.zeros(count, order_N.dtype)
  found_N = found_N.at[order_N].set(order_N[place_N], unique_indices=True)
  return jnp.where(where_N, found_N, count)


def is_first(
  rows_ND: Float[Array, "N D"], where_N: Bool[Array, "N"] | None = None
) -> Bool[Array, "N"]:
  """Which rows equal none before them; arguments as in first_equal."""
  return first_equal(rows_ND, where_N) == jnp.arange(rows_ND.shape[0])
