# SPDX-License-Identifier: Apache-2.0
"""The production layer against its formula in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.stu import STU
from genrec_jax.core.build import build
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention

_H, _K, _A, _D, _LAYERS = 2, 3, 5, 7, 2
_NORMALIZER = 11.0


def _stu(**changes):
  fields = {
    "num_layers": _LAYERS,
    "num_heads": _H,
    "key_width": _K,
    "value_width": _A,
    "attention": SiluAttention(normalizer=_NORMALIZER),
  }
  return STU(**fields | changes)


def _info():
  segments = jnp.array([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 1]])
  positions = jnp.array([[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]])
  return SequenceInfo(segments, positions, positions * 0, positions * 0)


def _rows(seed=0):
  shape = (*_info().positions_BL.shape, _D)
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), "f4")


def _params(module, seed=1):
  """Random everywhere, so that no zero or one hides a missing term."""
  variables = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, _info(), deterministic=True),
    _rows(),
  )
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: rng.normal(0.0, 0.7, leaf.shape).astype(np.float32),
    variables["params"],
  )


def _apply(module, params):
  run = jax.jit(functools.partial(module.apply, deterministic=True))
  return run({"params": params}, _rows(), _info())


def _norm(x, p):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
  return x * p["scale"] + p["bias"]


def _silu(x):
  return x / (1 + np.exp(-x))


def _layer(p, x):
  """One layer on one user's events (L, D), event by event."""
  projected = _norm(x, p["input_norm"]) @ p["uvqk"]["kernel"]
  projected = projected + p["uvqk"]["bias"]
  u, v, q, k = np.split(projected, np.cumsum([_H * _A, _H * _A, _H * _K]), 1)
  u = _silu(u)
  y = np.zeros_like(u)
  for h in range(_H):
    keys, values = slice(h * _K, (h + 1) * _K), slice(h * _A, (h + 1) * _A)
    for i in range(len(x)):
      for j in range(i + 1):
        weight = _silu(q[i, keys] @ k[j, keys] / np.sqrt(_K)) / _NORMALIZER
        y[i, values] += weight * v[j, values]
  parts = np.concatenate([u, y, u * _norm(y, p["norm"])], axis=1)
  return x + parts @ p["output"]["kernel"]


def test_it_is_the_formula_on_packed_rows():
  x, info, module = _rows(), _info(), _stu()
  params = _params(module)
  found = _apply(module, params)
  x = np.asarray(x, np.float64)
  segments = np.asarray(info.segment_ids_BL)
  for row in range(len(x)):
    for segment in range(1, segments[row].max() + 1):
      here = segments[row] == segment
      expected = x[row, here]
      for i in range(_LAYERS):
        expected = _layer(params[f"layer_{i}"], expected)
      np.testing.assert_allclose(
        found[row, here], expected, rtol=2e-5, atol=2e-5
      )


def test_parameters_are_those_of_the_published_code():
  shapes = jax.tree.map(jnp.shape, _params(_stu())["layer_0"])
  assert shapes == {
    "input_norm": {"scale": (_D,), "bias": (_D,)},
    "uvqk": {
      "kernel": (_D, 2 * _H * (_A + _K)),
      "bias": (2 * _H * (_A + _K),),
    },
    "norm": {"scale": (_H * _A,), "bias": (_H * _A,)},
    "output": {"kernel": (3 * _H * _A, _D)},
  }


def test_it_is_not_the_research_layer():
  research = HSTU(
    num_layers=1,
    num_heads=_H,
    key_width=_K,
    value_width=_A,
    num_positions=8,
    attention=SiluAttention(normalizer=_NORMALIZER),
  )
  assert set(_params(research)["layer_0"]) != set(_params(_stu())["layer_0"])


def test_a_config_names_it():
  node = {
    "name": "backbones.STU",
    "num_layers": _LAYERS,
    "num_heads": _H,
    "key_width": _K,
    "value_width": _A,
    "attention": {
      "name": "layers.SiluAttention",
      "normalizer": _NORMALIZER,
    },
  }
  assert build(node) == _stu()


def test_bfloat16_is_close_to_float32():
  module = _stu()
  params = _params(module)
  exact = _apply(module, params)
  rounded = _apply(_stu(dtype="bfloat16"), params)
  valid = np.asarray(_info().valid_BL)
  error = np.abs(np.asarray(rounded, np.float32) - exact)[valid].max()
  assert 0 < error < 0.05 * np.abs(exact)[valid].max()
