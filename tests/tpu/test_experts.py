# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts by the real TPU compiler, split over four chips.

In a process of its own: libtpu must meet its environment before JAX starts.
"""

import importlib.util
import json
import pathlib

import pytest

from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PROGRAM = """
import json, sys
from genrec_jax.tpu.topology import open_slice
slice_ = open_slice(sys.argv[1])
import jax, jax.numpy as jnp
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.layers.moe import LOGICAL_AXES, MixtureOfExperts
from genrec_jax.layers.routers import TopKRouter
from genrec_jax.tpu.compile import Step, compile_step

placement = MeshOptions("tp", {"data": 2, "model": 2}).place(slice_.devices)
layer = MixtureOfExperts(
  TopKRouter(2, balance_rate=0.001), 8, 256, dtype="bfloat16")

def shaped(tree, shardings):
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree, shardings)

def loss(params, x, where):
  y, routed = layer.apply({"params": params}, x, where, train=True)
  return jnp.sum(y.astype(jnp.float32) ** 2), routed.assign

x = jax.ShapeDtypeStruct((8, 256, 128), jnp.bfloat16)
where = jax.ShapeDtypeStruct((8, 256), bool)
params = jax.eval_shape(
  lambda x, where: layer.init(jax.random.key(0), x, where, train=False),
  x, where)["params"]
params = shaped(params, placement.shardings(params, LOGICAL_AXES))
x, where = shaped((x, where), (placement.by_rows,) * 2)
with jax.set_mesh(placement.mesh):
  step = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
  lowered = step.trace(params, x, where).lower(lowering_platforms=("tpu",))
  report = compile_step(Step("train", step, (params, x, where)), slice_)
program = hlo.parse(report.text)
costs = [program_cost(program, unknown_trips=n) for n in (15, 16)]
print(json.dumps({
  "words": [w for w in ("callback", "outfeed", "infeed", "send(", "recv(")
            if w in report.text or w in lowered.as_text()],
  "block": costs[1].flops - costs[0].flops,
  "loops": len(costs[1].unknown_loops),
  "collectives": sorted(costs[1].collectives),
  "whole": "[8,128,256]" in report.text or "[8,256,128]" in report.text,
  "share": "f32[4,128,256]" in report.text,
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)
def test_experts_are_split_and_cost_what_their_blocks_cost(tmp_path):
  path = tmp_path / "program.py"
  path.write_text(_PROGRAM)
  done = commands.run([path, "v5e:2x2"], cwd=_ROOT)
  assert done.returncode == 0, done.stderr[-3000:]
  # A block has 128 of the 256 rows that an expert has on a chip where load is
  # even; 3 products forward, and 2 of them again before the backward's 6.
  assert json.loads(done.stdout.splitlines()[-1]) == {
    "words": [],
    "block": (3 + 2 + 6) * 2 * 128 * 128 * 256,
    "loops": 2,
    "collectives": ["all-reduce"],
    "whole": False,
    "share": True,
  }
