# SPDX-License-Identifier: Apache-2.0
"""Masks of dropout: shares, independence, means; the layer that uses them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.dropout import Dropout
from genrec_jax.ops.dropout_mask import drop, keep_mask, keep_share

_KEY = jax.random.key(3)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.5, 0.999])
def test_as_many_are_kept_as_the_share_says(rate):
  share = keep_share(rate)
  assert abs(share - (1 - rate)) <= 1 / 512 + 1e-9 or rate > 0.998
  kept = np.asarray(keep_mask(_KEY, rate, (64, 33, 50)))
  deviation = np.sqrt(share * (1 - share) / kept.size)
  assert abs(kept.mean() - share) <= 5 * deviation
  # Each byte of a word: columns are kept alike.
  columns = kept.mean(axis=(0, 1))
  assert (abs(columns - share) <= 5 * deviation * 50**0.5).all()


def test_entries_know_nothing_of_each_other():
  kept = np.asarray(keep_mask(_KEY, 0.3, (500, 203))).astype(float)
  kept -= kept.mean()
  for axis in (0, 1):
    for lag in (1, 2, 3, 4, 5):
      other = np.roll(kept, lag, axis)
      assert abs((kept * other).mean() / kept.var()) < 5 / kept.size**0.5
  again = np.asarray(keep_mask(jax.random.key(4), 0.3, kept.shape))
  together = (kept * (again - again.mean())).mean()
  assert abs(together / kept.var()) < 5 / kept.size**0.5


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3), (4, 1, 5)])
def test_masks_have_any_shape_and_are_the_same_when_compiled(shape):
  kept = keep_mask(_KEY, 0.4, shape)
  assert kept.shape == shape and kept.dtype == bool
  jitted = jax.jit(keep_mask, static_argnums=(1, 2))(_KEY, 0.4, shape)
  np.testing.assert_array_equal(kept, jitted)


def test_what_is_kept_is_scaled_so_that_the_mean_and_gradients_stay():
  x = jnp.linspace(1, 2, 40_000).reshape(200, 200)
  y = np.asarray(drop(_KEY, 0.2, x))
  kept = np.asarray(keep_mask(_KEY, 0.2, x.shape))
  np.testing.assert_array_equal(y != 0, kept)
  np.testing.assert_allclose(y[kept], x[kept] * 256 / 205, rtol=1e-6)
  np.testing.assert_allclose(y.mean(), x.mean(), rtol=0.02)
  gradient = jax.grad(lambda x: drop(_KEY, 0.2, x).sum())(x)
  np.testing.assert_allclose(gradient, kept * 256 / 205, rtol=1e-6)
  assert drop(_KEY, 0.2, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_the_layer_drops_in_training_alone():
  x = jnp.ones((30, 41))
  layer = Dropout(0.5)
  rngs = {"dropout": _KEY}
  np.testing.assert_array_equal(layer.apply({}, x, deterministic=True), x)
  y = layer.apply({}, x, deterministic=False, rngs=rngs)
  assert set(np.unique(y)) == {0.0, 2.0}
  np.testing.assert_array_equal(
    Dropout(0.0).apply({}, x, deterministic=False), x
  )


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_share_is_refused(rate):
  with pytest.raises(ValueError, match=f"dropout={rate} must be at least 0"):
    drop(_KEY, rate, jnp.ones(3))
