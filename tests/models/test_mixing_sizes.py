# SPDX-License-Identifier: Apache-2.0
"""Configs of mixed tokens by shapes alone: published sizes, and ours."""

import importlib
import math

import jax
import pytest

from genrec_jax.core import sharding
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.ops.mixing_sizes import MixingSizes

_GATED = {"parts": 2, "matrices": 3}
# Config, variants; sizes; what it is called by, in parameters.
_CASES = {
  ("rankmixer_industrial", ""): (MixingSizes(32, 1536, 6144, 2), 1.2e9),
  ("rankmixer_industrial", "base"): (MixingSizes(16, 768, 3072, 2), 151e6),
  ("rankmixer_industrial", "tokenmixer"): (
    MixingSizes(32, 2048, 4608, 4, **_GATED),
    7.2e9,
  ),
  ("rankmixer_kuairand", ""): (MixingSizes(8, 64, 128, 2), 262_144),
  ("tokenmixer_kuairand", ""): (
    MixingSizes(8, 64, 64, 4, **_GATED),
    786_432,
  ),
}


@pytest.mark.parametrize(("name", "form"), _CASES)
def test_parameters_are_those_of_their_arithmetic(name, form):
  sizes, called = _CASES[name, form]
  module = importlib.import_module(f"configs.{name}")
  config = check_config(module.get_config(form))
  mesh = MeshOptions("slots", {"data": 1, "model": 8})
  placement = mesh.place() if "industrial" in name else sharding.local()
  program = Program.from_config(config, 1_000, placement)
  params = program.abstract_state().params
  blocks = {
    key: node
    for key, node in params["interactions"].items()
    if key.startswith("blocks_")
  }
  assert len(blocks) == sizes.num_layers
  count = sum(math.prod(x.shape) for x in jax.tree.leaves(blocks))
  assert count == pytest.approx(sizes.parameters, rel=0.05)
  assert sizes.parameters == pytest.approx(called, rel=0.01)
  if "industrial" in name:
    # A chip has the matrices of its own tokens.
    (matrix,) = {
      x.sharding.shard_shape(x.shape)
      for x in jax.tree.leaves(blocks)
      if x.ndim == 3 and x.shape[1] == sizes.width
    }
    shape = (sizes.tokens // 8, sizes.width, sizes.hidden_width)
    assert matrix == shape
