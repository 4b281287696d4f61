# SPDX-License-Identifier: Apache-2.0
"""Experts on several devices are those of one, however uneven their load."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.sharding import MeshOptions
from genrec_jax.layers.moe import LOGICAL_AXES, MixtureOfExperts
from genrec_jax.layers.routers import TopKRouter

_E, _D, _F = 8, 4, 6
_rng = np.random.default_rng(0)
_X = _rng.normal(size=(4, 10, _D)).astype(np.float32)
_REAL = np.ones((4, 10), bool)
_REAL[2, 6:] = False
_LAYER = MixtureOfExperts(
  TopKRouter(2, balance_rate=0.01), _E, _F, implementation="blocks"
)


@functools.cache
def _params():
  return jax.jit(functools.partial(_LAYER.init, train=False))(
    jax.random.key(0), _X, _REAL
  )["params"]


def _step(params, x, where):
  def loss(params, x):
    y, routed = _LAYER.apply({"params": params}, x, where, train=True)
    return jnp.sum(jnp.sin(y)), (y, routed)

  return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)


@pytest.mark.parametrize(
  ("options", "uneven"),
  [
    (MeshOptions("tp", {"data": 2, "model": 4}), True),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in (
        (MeshOptions("tp", {"data": 2, "model": 4}), False),
        (MeshOptions("dp", {"data": 1, "model": 8}, {"expert": "model"}), True),
        (
          MeshOptions("fsdp", {"data": 4, "model": 2}, {"expert": "model"}),
          True,
        ),
        (MeshOptions("dp", {"data": 8}), False),
        # Three devices cannot share 40 tokens: each has them all.
        (MeshOptions("dp", {"data": 3, "model": 2}), True),
      )
    ),
  ],
)
def test_eight_devices_are_one(options, uneven):
  params = _params()
  if uneven:
    # All tokens take experts 5 and 6.
    balance = jnp.zeros(_E).at[jnp.array([5, 6])].set(2.0)
    params = {**params, "routing": {**params["routing"], "balance": balance}}
  expected = jax.jit(_step)(params, _X, _REAL)
  load = expected[1][1].load
  assert float(load.sum()) == 2 * _REAL.sum()
  assert (float(load.max()) == _REAL.sum()) == uneven
  sizes = options.axes["data"] * options.axes.get("model", 1)
  placement = options.place(jax.devices()[:sizes])
  with jax.set_mesh(placement.mesh):
    where = jax.device_put(params, placement.shardings(params, LOGICAL_AXES))
    place = placement.by_rows if placement.divides(4) else placement.replicated
    rows = [jax.device_put(a, place) for a in (_X, _REAL)]
    step = jax.jit(_step)
    got = step(where, *rows)
    text = step.lower(where, *rows).compile().as_text()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    got,
    expected,
  )
  shares = options.axes.get("model", 1)
  split = "expert" in placement.rules and shares > 1
  width = _D // options.axes["data"] if options.preset == "fsdp" else _D
  assert f"f32[{_E // shares if split else _E},{width},{_F}]" in text
  # No device has the matrices of all experts.
  assert split != (f"f32[{_E},{_D},{_F}]" in text)
