# SPDX-License-Identifier: Apache-2.0
"""Norms: their definition, and finite gradients at zero."""

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.ops.norm import l2_normalize, layer_norm


def test_layer_norm_has_zero_mean_and_unit_variance():
  x = jnp.asarray(np.random.default_rng(0).normal(3, 5, (4, 64)), jnp.float32)
  y = layer_norm(x)
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y.var(-1), 1, atol=1e-4)


def test_l2_norm_is_one_and_keeps_the_direction():
  x = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]])
  y = l2_normalize(x)
  np.testing.assert_allclose(y, [[0.6, 0.8], [0, 0], [1e-3, 0]], rtol=1e-5)


def test_gradients_are_finite_at_zero():
  for norm in (layer_norm, l2_normalize):
    grad = jax.grad(lambda x, norm=norm: norm(x).sum())(jnp.zeros((2, 3)))
    assert np.all(np.isfinite(grad))


def test_bfloat16_is_computed_in_float32():
  x = jnp.asarray([[256.0, 257.0, 258.0, 259.0]], jnp.bfloat16)
  assert layer_norm(x).dtype == jnp.bfloat16
  exact = layer_norm(x.astype(jnp.float32))
  np.testing.assert_allclose(
    layer_norm(x).astype(jnp.float32), exact, atol=1e-2
  )
