# SPDX-License-Identifier: Apache-2.0
"""32 bits of every array of a tree, computed where the arrays lie.

    sum over elements i of  word_i (2 i + 1)   mod 2^32

i is the place in row-major order, and a word the element's bits. An odd factor
loses no bit, so that a flipped bit always changes the sum, and so does a swap.
It is the same on every mesh and reads each array once, without a copy.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}


def checksums(tree: Any) -> dict[str, int]:
  """Path -> checksum. Named tuples and dicts of one content get one path."""
  found = jax.device_get(_checksums(tree))
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): int(value)
    for path, value in jax.tree_util.tree_leaves_with_path(found)
  }


def differing(found: dict[str, int], expected: dict[str, int]) -> list[str]:
  """Paths whose checksums are not those expected, or are not there."""
  return sorted(
    path
    for path in found.keys() | expected.keys()
    if found.get(path) != expected.get(path)
  )


@jax.jit
def _checksums(tree: Any) -> Any:
  return jax.tree.map(_checksum, tree)


def _checksum(x: Array) -> UInt32[Array, ""]:
  if x.dtype == jnp.bool_:
    x = x.astype(jnp.uint8)
  words = lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize])
  words = words.astype(jnp.uint32)
  index, stride = jnp.zeros(words.shape, jnp.uint32), 1
  for axis in reversed(range(words.ndim)):
    place = lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    index += place * jnp.uint32(stride % 2**32)
    stride *= words.shape[axis]
  return jnp.sum(words * (2 * index + 1), dtype=jnp.uint32)
