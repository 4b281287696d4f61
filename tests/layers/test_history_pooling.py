# SPDX-License-Identifier: Apache-2.0
"""Pooled histories: weights by hand, padding that counts for nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.history_pooling import (
  DifferenceProduct,
  OuterProduct,
  SumPooling,
  TargetAttention,
)

_B, _H, _E = 3, 5, 4
_POOLINGS = {
  "sum": SumPooling(),
  "none": TargetAttention((8,)),
  "softmax": TargetAttention((8,), softmax=True),
  "outer": TargetAttention((8,), OuterProduct()),
}


def _inputs(seed=0):
  keys = jax.random.split(jax.random.key(seed), 2)
  where = jnp.arange(_H)[None, :] < jnp.array([3, 5, 0])[:, None]
  return (
    jax.random.normal(keys[0], (_B, _H, _E)),
    jax.random.normal(keys[1], (_B, _E)),
    where,
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", _POOLINGS)
def test_padding_is_as_if_it_were_not_there(name):
  pooling = _POOLINGS[name]
  history, candidate, where = _inputs()
  params = pooling.init(jax.random.key(1), history, candidate, where)

  def apply(history, where):
    return pooling.apply(params, history, candidate, where)

  found = apply(history, where)
  cut = apply(history[:, :3], where[:, :3])
  np.testing.assert_allclose(found[0], cut[0], rtol=1e-5)
  np.testing.assert_array_equal(found[2], jnp.zeros(_E))
  filled = jnp.where(where[..., None], history, 1e3)
  np.testing.assert_allclose(apply(filled, where), found, rtol=1e-5)
  gradient = jax.grad(lambda x: jnp.sum(apply(x, where) ** 2))(history)
  assert np.isfinite(gradient).all()
  assert not gradient[~np.asarray(where)].any()
  assert (gradient[np.asarray(where)] != 0).all()


def test_every_gradient_of_an_empty_history_is_finite():
  pooling = _POOLINGS["softmax"]
  history, candidate, where = _inputs()
  params = pooling.init(jax.random.key(1), history, candidate, where)
  nobody = jnp.zeros_like(where)
  gradient = jax.grad(
    lambda p: jnp.sum(pooling.apply(p, history, candidate, nobody))
  )(params)
  assert all(not x.any() for x in jax.tree.leaves(gradient))


def test_only_without_a_softmax_does_the_history_s_length_count():
  history, candidate, _ = _inputs()
  where = jnp.ones((_B, _H), bool)
  twice = jnp.concatenate([history, history], axis=1)
  for name, ratio in (("sum", 2), ("none", 2), ("outer", 2), ("softmax", 1)):
    pooling = _POOLINGS[name]
    params = pooling.init(jax.random.key(1), history, candidate, where)
    one = pooling.apply(params, history, candidate, where)
    two = pooling.apply(
      params, twice, candidate, jnp.concatenate([where, where], axis=1)
    )
    np.testing.assert_allclose(two, ratio * one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ("pair", "inputs"),
  [
    # [e, vec(e c^T), c] is 2 E + E^2 wide, [e, e - c, e * c, c] 4 E.
    (OuterProduct(), 2 * _E + _E**2),
    (DifferenceProduct(), 4 * _E),
  ],
)
def test_what_the_activation_unit_reads(pair, inputs):
  pooling = TargetAttention((6,), pair)
  params = pooling.init(jax.random.key(0), *_inputs())["params"]
  assert params["unit"]["Dense_0"]["kernel"].shape == (inputs, 6)


def test_pairs_by_hand():
  e, c = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
  np.testing.assert_array_equal(OuterProduct()(e, c), [3, 5, 6, 10])
  np.testing.assert_array_equal(DifferenceProduct()(e, c), [-2, -3, 3, 10])


@pytest.mark.parametrize("softmax", [False, True])
def test_the_weights_are_those_of_the_unit(softmax):
  pooling = TargetAttention((), softmax=softmax)
  history, candidate, where = _inputs()
  variables = pooling.init(jax.random.key(1), history, candidate, where)
  kernel = variables["params"]["weight"]["kernel"][:, 0]
  e, c = history[0, :3], jnp.broadcast_to(candidate[0][None], (3, _E))
  weight = jnp.concatenate([e, e - c, e * c, c], axis=1) @ kernel
  if softmax:
    weight = jax.nn.softmax(weight / _E**0.5)
  found = pooling.apply(variables, history, candidate, where)[0]
  np.testing.assert_allclose(found, weight @ e, rtol=1e-4, atol=1e-5)
