# SPDX-License-Identifier: Apache-2.0
"""Slots: a feed-forward part of its own for each, one by one in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.slot_feed_forward import SlotFeedForward

_S, _D, _F = 3, 4, 6


@pytest.mark.parametrize(
  "layer",
  [
    SlotFeedForward(_F, activation="relu"),
    SlotFeedForward(_F, gated=True, bias=False, activation="relu"),
  ],
)
def test_every_slot_has_its_own(layer):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 5, _S, _D)).astype(np.float32)
  shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
  params = jax.tree.map(
    lambda s: rng.normal(size=s.shape).astype(np.float32), shapes
  )
  found = jax.jit(layer.apply)(params, x)
  p = params["params"]
  assert set(p) == {"slot_in", "slot_out"} | (
    {"slot_linear"} if layer.gated else {"slot_in_bias", "slot_out_bias"}
  )
  for slot in range(_S):
    z = x[:, :, slot]
    h = z @ p["slot_in"][slot]
    h = np.maximum(h + (p["slot_in_bias"][slot] if layer.bias else 0), 0)
    if layer.gated:
      h = h * (z @ p["slot_linear"][slot])
    y = h @ p["slot_out"][slot]
    y = y + (p["slot_out_bias"][slot] if layer.bias else 0)
    np.testing.assert_allclose(found[:, :, slot], y, rtol=1e-4, atol=1e-4)


def test_one_may_be_shared_by_all_slots():
  own, one = (SlotFeedForward(_F, gated=True, shared=s) for s in (False, True))
  x = jax.random.normal(jax.random.key(0), (2, _S, _D))
  params = one.init(jax.random.key(1), x)["params"]
  assert {len(p) for p in params.values()} == {1}
  repeated = {n: jax.numpy.repeat(p, _S, axis=0) for n, p in params.items()}
  np.testing.assert_allclose(
    one.apply({"params": params}, x),
    own.apply({"params": repeated}, x),
    rtol=1e-5,
    atol=1e-6,
  )
  # A mesh splits slots, of which there is one here.
  assert own.logical_axes["slot_in"][0] == "slot"
  assert one.logical_axes["slot_in"][0] is None


def test_out_scale_is_of_the_last_matrix_alone():
  x = jnp.ones((1, _S, 64))
  a, b = (
    SlotFeedForward(64, out_scale=scale).init(jax.random.key(0), x)["params"]
    for scale in (1.0, 0.01)
  )
  np.testing.assert_array_equal(a["slot_in"], b["slot_in"])
  np.testing.assert_allclose(0.01 * a["slot_out"], b["slot_out"], rtol=1e-5)
  assert float(a["slot_out"].std()) == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize("options", [{"hidden_width": 0}, {"out_scale": 0.0}])
def test_options_that_cannot_be(options):
  with pytest.raises(ValueError, match=next(iter(options))):
    SlotFeedForward(**{"hidden_width": 4, **options})
