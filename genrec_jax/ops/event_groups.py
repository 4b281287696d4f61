# SPDX-License-Identifier: Apache-2.0
"""Neighbouring events of a history side by side, K of them a group.

    events           0 1 2 3 4 5 6 . .      7 of at most 9 events, K = 3
    from the newest  [. . 0] [1 2 3] [4 5 6]     one more event moves all
    from the oldest  [0 1 2] [3 4 5] [6 . .]     one more event fills the last

There are T = ceil(L / K) groups, whatever is in them, the newest the last one;
those that have no events come first. From the oldest, a group that is full
stays what it is for ever; data/layouts/event_groups.py says where a window must
begin for that (LONGER, arXiv 2505.04421, section 3.3).
Shapes: B histories, L events at most, K events of a group, T groups.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def last_there(where_BL: Bool[Array, "B L"]) -> Int[Array, "B"]:
  """Places up to the last one that is there."""
  place_1L = jnp.arange(1, where_BL.shape[1] + 1)[None]
  return jnp.max(jnp.where(where_BL, place_1L, 0), axis=1)


def grouped(
  x_BLD: Float[Array, "B L D"],
  where_BL: Bool[Array, "B L"],
  size: int,
  *,
  from_newest: bool,
) -> tuple[Float[Array, "B T K D"], Bool[Array, "B T K"]]:
  """The members of every group, 0 where there is none, and which are there.

  Args:
    x_BLD: events, oldest first, right padded.
    where_BL: which are there.
    size: K.
    from_newest: or from the oldest.
  """
  rows, length = where_BL.shape
  groups = -(-length // size)
  place_N = jnp.arange(groups * size)
  count_B = last_there(where_BL)
  first_B = count_B if from_newest else -(-count_B // size) * size
  source_BN = place_N[None] - (groups * size - first_B)[:, None]
  index_BN = jnp.clip(source_BN, 0, length - 1)
  there_BN = jnp.take_along_axis(where_BL, index_BN, axis=1)
  there_BN = there_BN & (source_BN >= 0) & (source_BN < length)
  found_BND = jnp.take_along_axis(x_BLD, index_BN[:, :, None], axis=1)
  found_BND = jnp.where(there_BN[:, :, None], found_BND, 0)
  shape = (rows, groups, size)
  return found_BND.reshape(*shape, -1), there_BN.reshape(shape)


def spread(
  there_BT: Bool[Array, "B T"], count: int
) -> tuple[Int[Array, "B Q"], Bool[Array, "B Q"]]:
  """Places of `count` groups, evenly among those there; all of fewer.

  Args:
    there_BT: which are there; they end the row.
    count: Q.

  Returns:
    Places in order, and whether there is one.
  """
  length = there_BT.shape[1]
  found_B1 = jnp.sum(there_BT, axis=1, keepdims=True)
  number_1Q = jnp.arange(count)[None]
  # The middles of as many equal parts.
  evenly_BQ = (2 * number_1Q + 1) * found_B1 // (2 * count)
  place_BQ = jnp.where(found_B1 <= count, number_1Q, evenly_BQ)
  last_B1 = last_there(there_BT)[:, None]
  index_BQ = jnp.clip(last_B1 - found_B1 + place_BQ, 0, length - 1)
  return index_BQ, jnp.broadcast_to(number_1Q < found_B1, index_BQ.shape)
