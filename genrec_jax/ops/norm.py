# SPDX-License-Identifier: Apache-2.0
"""Normalisation without parameters: layer norm and l2 norm.

    layer_norm(x) = (x - mean) / sqrt(var + eps)       over the last axis
    l2_normalize(x) = x / max(|x|, eps)                over the last axis

Both compute in float32 and return the dtype they were given. Gradients are
finite everywhere, also at x = 0 (padding rows are exactly zero).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def layer_norm(
  x: Float[Array, "... D"], eps: float = 1e-6
) -> Float[Array, "... D"]:
  """Zero mean and unit variance over the last axis, no scale, no shift."""
  x32 = x.astype(jnp.float32)
  centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
  return (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype)


def l2_normalize(
  x: Float[Array, "... D"], eps: float = 1e-6
) -> Float[Array, "... D"]:
  """x / max(|x|, eps); vectors shorter than eps keep their direction only."""
  x32 = x.astype(jnp.float32)
  # The maximum acts on the square: d|x|/dx does not exist at 0.
  square = jnp.sum(jnp.square(x32), axis=-1, keepdims=True)
  return (x32 * jax.lax.rsqrt(jnp.maximum(square, eps**2))).astype(x.dtype)
