# SPDX-License-Identifier: Apache-2.0
"""Any flipped bit shows, in any type, whatever the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.train.checksums import checksums, differing

_TYPES = ("float32", "bfloat16", "int32", "int8", "uint8", "bool", "float16")


def _reference(x):
  """The sum in Python's whole numbers."""
  width = x.dtype.itemsize
  data = np.ascontiguousarray(x).tobytes()
  words = [
    int.from_bytes(data[i : i + width], "little")
    for i in range(0, len(data), width)
  ]
  return sum(w * (2 * i + 1) for i, w in enumerate(words)) % 2**32


@pytest.mark.parametrize("dtype", _TYPES)
def test_it_is_the_sum_that_it_says(dtype):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, 5, 7)) * 50
  tree = {"a": {"b": jnp.asarray(x).astype(dtype)}, "c": jnp.asarray(7)}
  found = checksums(tree)
  assert found["a/b"] == _reference(np.asarray(tree["a"]["b"]))
  assert found["c"] == 7


def test_every_flipped_bit_and_every_swap_shows():
  x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
  before = checksums({"x": jnp.asarray(x)})
  for place in range(x.size):
    for bit in (0, 7, 22, 23, 30, 31):
      flipped = x.copy().view(np.uint32).reshape(-1)
      flipped[place] ^= np.uint32(1) << np.uint32(bit)
      other = flipped.view(np.float32).reshape(x.shape)
      assert differing(checksums({"x": jnp.asarray(other)}), before) == ["x"]
  swapped = x[::-1].copy()
  assert checksums({"x": jnp.asarray(swapped)}) != before
  assert differing({}, before) == ["x"] and not differing(before, before)


def test_a_mesh_changes_nothing():
  x = np.random.default_rng(2).normal(size=(16, 8)).astype(np.float32)
  mesh = jax.make_mesh((4, 2), ("data", "model"))
  spec = jax.sharding.PartitionSpec("data", "model")
  split = jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))
  assert checksums({"x": split}) == checksums({"x": jnp.asarray(x)})
