# SPDX-License-Identifier: Apache-2.0
"""Blocks: split and join undo each other, and devices keep their own tokens."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from genrec_jax.core import sharding
from genrec_jax.ops import indexed_dot, linear_cross_entropy
from genrec_jax.ops.blocks import count_blocks, join, split


@pytest.mark.parametrize("length", [1, 7, 24])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_join_undoes_split(length, count):
  x = jnp.arange(length * 2.0).reshape(length, 2)
  blocks = split(x, count)
  assert blocks.shape[0] == count
  np.testing.assert_array_equal(join(blocks, length), x)


def test_the_count_divides_where_it_can():
  assert count_blocks(24, 24) == 1
  assert count_blocks(24, 7) == 4
  assert 27_008 % count_blocks(27_008, 282) == 0
  # A prime has no divisor nearby: split pads.
  assert count_blocks(10_007, 100) == 101


def _losses():
  def full(query, table, ids):
    return linear_cross_entropy.linear_cross_entropy(
      query, table, ids[:, 0]
    ).sum()

  def listed(query, table, ids):
    return jnp.sin(
      indexed_dot.indexed_dot(query, table, ids, implementation="dense")
    ).sum()

  return {"full": full, "listed": listed}


@pytest.mark.parametrize("name", ["full", "listed"])
def test_no_device_sees_the_tokens_of_another(name, monkeypatch):
  # Small blocks: the loop must run over several.
  for module in (linear_cross_entropy, indexed_dot):
    monkeypatch.setattr(module, "_BLOCK_SCORES", 16 * 40)
  mesh = sharding.MeshOptions().place().mesh
  rows = NamedSharding(mesh, PartitionSpec("data"))
  whole = NamedSharding(mesh, PartitionSpec())
  tokens, width, items = 128, 6, 40
  arguments = (
    jax.ShapeDtypeStruct((tokens, width), jnp.float32, sharding=rows),
    jax.ShapeDtypeStruct((items, width), jnp.float32, sharding=whole),
    jax.ShapeDtypeStruct((tokens, 3), jnp.int32, sharding=rows),
  )
  with jax.set_mesh(mesh):
    step = jax.jit(
      jax.grad(_losses()[name], (0, 1)), out_shardings=(rows, whole)
    )
    text = step.lower(*arguments).compile().as_text()
  assert "while" in text
  for collective in ("all-gather", "all-to-all", "collective-permute"):
    assert f" {collective}(" not in text, collective
  assert " all-reduce(" in text
