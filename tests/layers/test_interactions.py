# SPDX-License-Identifier: Apache-2.0
"""Interactions against naive forms, and which degrees they reach."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.interactions import (
  Concat,
  CrossNetwork,
  DotInteraction,
  FactorizationMachine,
  Wukong,
)

_F, _D = 5, 4
_MODULES = {
  "concat": Concat(),
  "fm": FactorizationMachine(),
  "dot": DotInteraction(),
  "cross": CrossNetwork(2),
  "cross_rank": CrossNetwork(2, rank=3),
  "wukong": Wukong(2, num_products=2, num_linear=4, rank=2, widths=(8,)),
}


def _x(*leading, seed=0):
  return jax.random.normal(jax.random.key(seed), (*leading, _F, _D))


def _start(module, x):
  """Parameters that are all random: biases start at 0 otherwise."""
  params = jax.jit(module.init)(jax.random.key(1), x)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(2), len(leaves) or 1)
  leaves = [
    0.5 * jax.random.normal(k, p.shape)
    for k, p in zip(keys, leaves, strict=False)
  ]
  return jax.tree.unflatten(tree, leaves)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "width"),
  [
    ("concat", _F * _D),
    ("fm", _F * _D + _D),
    ("dot", _F * _D + _F * (_F - 1) // 2),
    ("cross", _F * _D),
    ("cross_rank", _F * _D),
    ("wukong", 6 * _D),
  ],
)
def test_impressions_do_not_see_each_other(name, width):
  module, x = _MODULES[name], _x(2, 3)
  params = _start(module, x)
  found = jax.jit(module.apply)(params, x)
  assert found.shape == (2, 3, width)
  one = jax.jit(module.apply)(params, x[1, 2])
  np.testing.assert_allclose(found[1, 2], one, rtol=1e-4, atol=1e-5)


def test_pairs():
  x = _x()
  pairs = list(itertools.combinations(range(_F), 2))
  flat = x.reshape(-1)
  fm = FactorizationMachine().apply({}, x)
  products = sum((x[i] * x[j] for i, j in pairs), jnp.zeros(_D))
  np.testing.assert_allclose(
    fm, jnp.concatenate([flat, products]), rtol=1e-4, atol=1e-5
  )
  dots = DotInteraction().apply({}, x)[_F * _D :]
  expected = [x[i] @ x[j] for i in range(_F) for j in range(i)]
  np.testing.assert_allclose(dots, jnp.stack(expected), rtol=1e-4, atol=1e-5)


def test_the_cross_network_by_its_equation():
  x = _x()
  flat = z = x.reshape(-1)
  module = _MODULES["cross"]
  params = _start(module, x)
  for layer in range(2):
    p = params["params"][f"cross_{layer}"]
    z = flat * (z @ p["kernel"] + p["bias"]) + z
  np.testing.assert_allclose(module.apply(params, x), z, rtol=1e-4, atol=1e-5)


def test_a_low_rank_is_a_full_matrix_of_that_rank():
  x = _x()
  low, full = _MODULES["cross_rank"], _MODULES["cross"]
  params = _start(low, x)
  p = params["params"]
  product = {
    f"cross_{i}": {
      "kernel": p[f"down_{i}"]["kernel"] @ p[f"cross_{i}"]["kernel"],
      "bias": p[f"cross_{i}"]["bias"],
    }
    for i in range(2)
  }
  np.testing.assert_allclose(
    low.apply(params, x),
    full.apply({"params": product}, x),
    rtol=1e-4,
    atol=1e-4,
  )


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_layer_of_the_cross_network_adds_a_degree(layers):
  """Along a ray t x it is a polynomial of degree layers + 1, not less."""
  module, x = CrossNetwork(layers), _x()
  params = _start(module, x)
  with jax.enable_x64(True):
    params, x = jax.tree.map(lambda y: jnp.asarray(y, "float64"), (params, x))
    double = CrossNetwork(layers, dtype="float64")
    t = np.arange(layers + 3, dtype=np.float64)
    values = np.stack([double.apply(params, s * x) for s in t])
  # Differences of order degree + 1 of a polynomial vanish.
  top, above = np.diff(values, layers + 1, 0), np.diff(values, layers + 2, 0)
  assert np.abs(above).max() < 1e-9 * np.abs(values).max()
  assert np.abs(top).max() > 1e-3


def _layer_norm(x, p):
  x = x - jnp.mean(x, -1, keepdims=True)
  x = x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)
  shape = (1,) * (x.ndim - 1) + (-1,)
  return x * p["scale"].reshape(shape) + p["bias"].reshape(shape)


@pytest.mark.slow
def test_wukong_by_its_equations():
  """Naively: all dot products, then Y; the second layer keeps n."""
  x, module = _x(), _MODULES["wukong"]
  params = _start(module, x)
  p = params["params"]
  assert "residual_0" in p and "residual_1" not in p
  y = x
  for i in range(2):
    dots = ((y @ y.T) @ p[f"project_{i}"]).reshape(-1)
    dots = _layer_norm(dots, p[f"products_norm_{i}"])
    hidden = p[f"products_mlp_{i}"]["Dense_0"]
    h = jax.nn.relu(dots @ hidden["kernel"] + hidden["bias"])
    last = p[f"products_{i}"]
    products = (h @ last["kernel"] + last["bias"]).reshape(2, _D)
    new = jnp.concatenate([products, p[f"linear_{i}"].T @ y])
    residual = p["residual_0"].T @ y if i == 0 else y
    y = _layer_norm(new + residual, p[f"norm_{i}"])
  np.testing.assert_allclose(
    module.apply(params, x), y.reshape(-1), rtol=1e-3, atol=1e-4
  )
