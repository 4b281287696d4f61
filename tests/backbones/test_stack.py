# SPDX-License-Identifier: Apache-2.0
"""Scanned and rematerialised stacks are the unrolled stack."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.stu import STU
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention

_LAYERS, _D = 3, 8


def _backbones():
  fields = {
    "num_layers": _LAYERS,
    "num_heads": 2,
    "key_width": 4,
    "value_width": 4,
    "attention": SiluAttention(normalizer=6.0),
  }
  return {
    "hstu": functools.partial(HSTU, num_positions=16, **fields),
    "stu": functools.partial(STU, **fields),
  }


@pytest.fixture(params=_backbones())
def make(request):
  return _backbones()[request.param]


def _inputs():
  rng = np.random.default_rng(0)
  segments = jnp.array([[1] * 5 + [2] * 6 + [0], [1] * 12])
  positions = jnp.array([[*range(5), *range(6), 0], [*range(12)]])
  times = jnp.asarray(np.sort(rng.integers(0, 10**6, (2, 12)), 1), jnp.int32)
  x = jnp.asarray(rng.normal(size=(2, 12, _D)), jnp.float32)
  return x, SequenceInfo(segments, positions, times, times + 60)


def _random_params(module):
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), *_inputs(), deterministic=True)
  )["params"]
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), jnp.float32),
    shapes,
  )


def _stacked(params):
  """Of the unrolled form -> of the scanned form."""
  layers = [params[f"layer_{i}"] for i in range(_LAYERS)]
  return {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}


def _loss(module, params):
  x, info = _inputs()
  y = module.apply({"params": params}, x, info, deterministic=True)
  return jnp.sum(jnp.sin(y) * info.valid_BL[..., None]), y


def _outputs_and_gradients(module, params):
  function = jax.value_and_grad(functools.partial(_loss, module), has_aux=True)
  (_, y), gradients = jax.jit(function)(params)
  return y, gradients


@functools.cache
def _plain(name):
  """Parameters, outputs and gradients of the unrolled stack."""
  module = _backbones()[name]()
  params = _random_params(module)
  return params, *_outputs_and_gradients(module, params)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("scan", "remat"),
  [
    (True, True),
    pytest.param(True, False, marks=pytest.mark.slow),
    pytest.param(False, True, marks=pytest.mark.slow),
  ],
)
@pytest.mark.parametrize("name", _backbones())
def test_outputs_and_gradients_are_those_of_the_plain_stack(name, scan, remat):
  params, y, gradients = _plain(name)
  if scan:
    params, gradients = _stacked(params), _stacked(gradients)
  module = _backbones()[name](scan=scan, remat=remat)
  found_y, found = _outputs_and_gradients(module, params)
  np.testing.assert_allclose(found_y, y, rtol=1e-5, atol=1e-5)
  assert jax.tree.structure(found) == jax.tree.structure(gradients)
  for a, b in zip(
    jax.tree.leaves(found), jax.tree.leaves(gradients), strict=True
  ):
    scale = float(np.abs(b).max())
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.slow
def test_scanned_layers_start_apart_and_drop_apart(make):
  module = make(scan=True, dropout=0.5)
  x, info = _inputs()
  params = jax.jit(functools.partial(module.init, deterministic=True))(
    jax.random.key(0), x, info
  )
  kernel = params["params"]["layers"]["uvqk"]["kernel"]
  assert kernel.shape[0] == _LAYERS
  assert not np.allclose(kernel[0], kernel[1])

  @jax.jit
  def run(seed):
    return module.apply(
      params,
      x,
      info,
      deterministic=False,
      rngs={"dropout": jax.random.key(seed)},
    )

  np.testing.assert_array_equal(run(0), run(0))
  assert not np.allclose(run(0), run(1))


def test_the_default_is_unrolled(make):
  names = set(_random_params(make()))
  assert names == {f"layer_{i}" for i in range(_LAYERS)}


@pytest.mark.slow
def test_remat_keeps_less(make):
  """What the backward pass keeps: n inputs instead of all activations."""

  def saved(module):
    pullback = jax.eval_shape(
      lambda params: jax.vjp(lambda p: _loss(module, p)[0], params)[1],
      _random_params(module),
    )
    return sum(leaf.size for leaf in jax.tree.leaves(pullback))

  for scan in (False, True):
    assert saved(make(scan=scan, remat=True)) < 0.5 * saved(make(scan=scan))
