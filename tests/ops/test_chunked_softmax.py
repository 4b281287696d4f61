# SPDX-License-Identifier: Apache-2.0
"""Attention in blocks and in parts is dense attention, gradients and all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.chunked_softmax import attend, joined
from genrec_jax.ops.sight import UNSEEN

_B, _Q, _M, _H, _E, _A = 2, 5, 11, 2, 3, 4
_SCALE = 0.7


def _inputs(seed=0):
  """Vectors; moments by which query 0 of row 0 sees nothing."""
  keys = jax.random.split(jax.random.key(seed), 3)
  q = jax.random.normal(keys[0], (_B, _Q, _H, _E)) * 3
  k = jax.random.normal(keys[1], (_B, _M, _H, _E))
  v = jax.random.normal(keys[2], (_B, _M, _H, _A))
  rng = np.random.default_rng(seed)
  since = rng.integers(0, 6, (_B, _M))
  since[1, 7:] = UNSEEN
  until = rng.integers(0, 6, (_B, _Q))
  until[0, 0] = -1
  return (q, k, v), jnp.asarray(until, jnp.int32), jnp.asarray(since, jnp.int32)


def _dense(vectors, until, since):
  q, k, v = vectors
  seen = (since[:, None, :] <= until[:, :, None])[:, None]
  scores = _SCALE * jnp.einsum("bqhe,bmhe->bhqm", q, k)
  scores = jnp.where(seen, scores, -1e30)
  weights = jnp.where(seen, jax.nn.softmax(scores), 0)
  some = jnp.any(seen, axis=-1)
  lse = jnp.where(some, jax.scipy.special.logsumexp(scores, axis=-1), 0)
  y = jnp.einsum("bhqm,bmha->bqha", weights, v)
  return y, jnp.moveaxis(lse, 1, 2)


def _blocks(block, vectors, until, since):
  y, lse = attend(*vectors, until, since, scale=_SCALE, block=block)
  return y, jnp.where(lse > -1e29, lse, 0)


def _parts(cut, vectors, until, since):
  """Keys in two parts that are read one by one."""
  q, k, v = vectors
  halves = [
    attend(q, k[:, s], v[:, s], until, since[:, s], scale=_SCALE, block=4)
    for s in (slice(cut), slice(cut, None))
  ]
  lse = jnp.logaddexp(halves[0][1], halves[1][1])
  return joined(halves), jnp.where(lse > -1e29, lse, 0)


@functools.partial(jax.jit, static_argnums=0)
def _with_gradients(function, vectors, until, since):
  def loss(vectors):
    y, lse = function(vectors, until, since)
    return jnp.sum(jnp.cos(y)) + jnp.sum(jnp.sin(lse)), (y, lse)

  return jax.value_and_grad(loss, has_aux=True)(vectors)


@pytest.mark.parametrize(
  "function",
  [
    functools.partial(_blocks, 4),
    functools.partial(_blocks, 512),
    functools.partial(_parts, 3),
  ],
  ids=["blocks", "one block", "parts"],
)
def test_values_and_gradients_are_those_of_all_pairs(function):
  inputs = _inputs()
  expected, gradients = _with_gradients(_dense, *inputs)
  found, own = _with_gradients(function, *inputs)
  assert not found[1][0][0, 0].any()
  for a, b in zip(
    jax.tree.leaves((found, own)),
    jax.tree.leaves((expected, gradients)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_no_pair_of_ten_thousand_is_kept():
  """What a training step holds grows with the length, not with its square."""
  length = 10_000
  shape = jax.ShapeDtypeStruct((1, length, 1, 4), jnp.float32)
  moments = jax.ShapeDtypeStruct((1, length), jnp.int32)

  def loss(q, k, v, moments):
    return jnp.sum(attend(q, k, v, moments, moments)[0] ** 2)

  step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
  compiled = step.lower(shape, shape, shape, moments).compile()
  pairs_nbytes = 4 * length**2
  assert compiled.memory_analysis().temp_size_in_bytes < pairs_nbytes / 3


def test_there_must_be_keys():
  (q, k, v), until, since = _inputs()
  with pytest.raises(ValueError, match="attention over 0 keys, 512 at a time"):
    attend(q, k[:, :0], v[:, :0], until, since[:, :0])
