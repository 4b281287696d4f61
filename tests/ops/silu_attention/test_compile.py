# SPDX-License-Identifier: Apache-2.0
"""The kernels go through the TPU's own compiler, for every chip.

In a process of their own: libtpu must meet its environment before JAX starts.
"""

import importlib.util
import json
import pathlib

import pytest

from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_PROGRAM = """
import json, sys
from genrec_jax.tpu.topology import open_slice
slice_ = open_slice(sys.argv[1])
import jax, jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention

length, heads, width, dtype = (
  int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
mesh = Mesh(slice_.devices[:1], ("data",), axis_types=(AxisType.Auto,))

def shape(dims, dtype):
  sharding = NamedSharding(mesh, PartitionSpec())
  return jax.ShapeDtypeStruct(dims, dtype, sharding=sharding)

vectors = shape((1, length, heads, width), dtype)
facts = shape((1, length), jnp.int32)
tables = BiasTables(
  shape((2 * length - 1,), jnp.float32), shape((129,), jnp.float32))

def attend(q, k, v, bias, *facts):
  y = silu_attention(
    q, k, v, SequenceInfo(*facts), bias=bias, normalizer=float(length),
    implementation="pallas_tpu")
  return jnp.sum(y.astype(jnp.float32))

with jax.set_mesh(mesh):
  compiled = jax.jit(jax.value_and_grad(attend, (0, 1, 2, 3))).trace(
    vectors, vectors, vectors, tables, *(facts,) * 4
  ).lower(lowering_platforms=("tpu",)).compile()
text = compiled.as_text()
qkv = 3 * length * heads * width * jnp.dtype(dtype).itemsize
print(json.dumps({
  "kernels": [n in text for n in (
    "silu_attention_forward", "silu_attention_backward")],
  "temporaries": compiled.memory_analysis().temp_size_in_bytes / qkv,
}))
"""


@pytest.fixture
def program(tmp_path):
  path = tmp_path / "program.py"
  path.write_text(_PROGRAM)
  return path


def _compile(program, *arguments):
  done = commands.run([program, *arguments], cwd=_ROOT)
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
  ),
]


def test_every_chip_takes_the_kernels(program):
  """v5p; v4 and v5e further down, and v6e in tests/scripts/test_bench.py."""
  found = _compile(program, "v5p:2x2x1", "1024", "2", "128", "bfloat16")
  assert found["kernels"] == [1, 1]


def test_float32_and_odd_widths_compile(program):
  assert _compile(program, "v5e:2x2", "200", "1", "50", "float32")[
    "kernels"
  ] == [1, 1]


def test_memory_grows_with_length_not_its_square(program):
  """At 16,384 and 4 heads: at most 8 times q, k and v.

  A whole step of it on a v5e: tests/evaluation/test_long_history.py.
  """
  found = _compile(program, "v4:2x2x1", "16384", "4", "128", "bfloat16")
  assert found["kernels"] == [1, 1]
  assert found["temporaries"] < 8
