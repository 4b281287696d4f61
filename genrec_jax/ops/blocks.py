# SPDX-License-Identifier: Apache-2.0
"""Cutting a leading dimension into blocks that devices can share.

A block takes every n-th element: x.reshape(size, count)[:, c] is block c.
Where the dimension is sharded over devices in contiguous parts, each device
then holds its share of every block, and a loop over blocks runs on all devices
without moving elements between them.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped


def count_blocks(length: int, target: int) -> int:
  """How many blocks of about `target` elements to cut `length` into.

  The count divides the length where a divisor lies near, so that blocks stay
  aligned with the devices of the mesh in force; otherwise `split` pads.
  """
  need = max(1, -(-length // max(1, target)))
  mesh = jax.sharding.get_abstract_mesh()
  shared = math.gcd(length, 1 if mesh.empty else mesh.size)
  for count in range(need, min(4 * need, length // shared) + 1):
    if length % (count * shared) == 0:
      return count
  return need


def split(x: Shaped[Array, "N *D"], count: int) -> Shaped[Array, "C S *D"]:
  """Blocks in front; zeros fill up a length that count does not divide."""
  missing = -x.shape[0] % count
  if missing:
    x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
  return jnp.moveaxis(x.reshape(-1, count, *x.shape[1:]), 1, 0)


def join(y: Shaped[Array, "C S *D"], length: int) -> Shaped[Array, "N *D"]:
  """Undoes split."""
  return jnp.moveaxis(y, 0, 1).reshape(-1, *y.shape[2:])[:length]
