# SPDX-License-Identifier: Apache-2.0
"""Slots and their experts on eight devices are those of one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.sharding import MeshOptions
from genrec_jax.layers.feature_tokens import FeatureGroups, SlicedTokens
from genrec_jax.layers.mixing_blocks import MixBlock, MixRevertBlock
from genrec_jax.layers.mixing_stack import MixingStack
from genrec_jax.layers.routers import TopKRouter
from genrec_jax.layers.slot_experts import SlotExperts
from genrec_jax.layers.slot_feed_forward import SlotFeedForward

_T, _D, _F, _E = 4, 8, 6, 3
_TOKENS = SlicedTokens(FeatureGroups(("a", "b"), (("all", ("*",)),)), _T, _D)
_X = np.random.default_rng(0).normal(size=(4, 6, 2, 6)).astype(np.float32)
_REAL = np.ones((4, 6), bool)
_REAL[2, 3:] = False


def _experts(implementation):
  router = TopKRouter(2, normalized=True, balance_rate=0.01)
  return SlotExperts(
    router, _E, _F, shared_width=4, implementation=implementation
  )


_STACKS = {
  "slots": MixingStack(_TOKENS, MixBlock(SlotFeedForward(_F)), 2),
  "blocks": MixingStack(_TOKENS, MixBlock(_experts("blocks")), 1),
  "dense": MixingStack(
    _TOKENS, MixRevertBlock(_experts("dense")), 1, final_norm=True
  ),
}


def _step(name, params, x, where):
  def loss(params, x):
    met = _STACKS[name].apply(
      {"params": params}, x, where, False, method="meet"
    )
    loads = tuple(one.load for one in met.routed)
    return jnp.sum(jnp.sin(met.vector)), (met.vector, loads)

  return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)


@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("slots", MeshOptions("slots", {"data": 2, "model": 4})),
    ("blocks", MeshOptions("slots", {"data": 2, "model": 4})),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in (
        ("dense", MeshOptions("slots", {"data": 4, "model": 2})),
        ("slots", MeshOptions("tp", {"data": 4, "model": 2})),
        ("slots", MeshOptions("fsdp", {"data": 4, "model": 2})),
        ("blocks", MeshOptions("dp", {"data": 8})),
      )
    ),
  ],
)
def test_eight_devices_are_one(name, options):
  stack = _STACKS[name]
  params = jax.jit(stack.init)(jax.random.key(0), _X)["params"]
  step = functools.partial(_step, name)
  expected = jax.jit(step)(params, _X, _REAL)
  placement = options.place()
  with jax.set_mesh(placement.mesh):
    shardings = placement.shardings(params, stack.logical_axes)
    where = jax.device_put(params, shardings)
    place = placement.by_rows if placement.divides(4) else placement.replicated
    rows = [jax.device_put(a, place) for a in (_X, _REAL)]
    compiled = jax.jit(step).lower(where, *rows).compile()
    got = compiled(where, *rows)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    got,
    expected,
  )
  if options.preset == "slots":
    shares, text = options.axes["model"], compiled.as_text()
    # Nobody has the matrices of all slots, or of all experts.
    count = _T if name == "slots" else _T * _E
    assert f"f32[{count // shares},{_D},{_F}]" in text
    assert f"f32[{count},{_D},{_F}]" not in text
