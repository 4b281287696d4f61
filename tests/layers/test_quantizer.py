# SPDX-License-Identifier: Apache-2.0
"""The quantiser: residuals, gradients, averages, resets, masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.quantizer import (
  ResidualQuantizer,
  averages,
  new_rows,
  random_rows,
)

_SIZES = (6, 5)


def _setup(num=40, width=3, spread=1.0, **options):
  layer = ResidualQuantizer(_SIZES, width, **options)
  z = jax.random.normal(jax.random.key(0), (num, width)) * spread
  where = jnp.arange(num) < num - 4
  params = jax.jit(functools.partial(layer.init, train=False))(
    jax.random.key(1), z, where
  )["params"]
  # Codes among the vectors, not all near 0.
  for level in range(2):
    book = jax.random.normal(jax.random.key(2 + level), (_SIZES[level], width))
    params[f"level_{level}"]["embedding"] = book / (level + 1)
  return layer, params, z, where


@functools.lru_cache
def _jitted(layer, train):
  return jax.jit(
    lambda params, z, where: layer.apply(
      {"params": params}, z, where, train=train, rngs={"dropout": _KEY}
    )
  )


def _apply(layer, params, z, where, train=True):
  return _jitted(layer, train)(params, z, where)


_KEY = jax.random.key(5)


def test_codes_are_nearest_and_residuals_go_on():
  layer, params, z, where = _setup()
  found = _apply(layer, params, z, where, train=False)
  left, total = np.array(z), 0
  for level in range(2):
    book = np.array(params[f"level_{level}"]["embedding"])
    gaps = np.square(left[:, None] - book[None]).sum(axis=-1)
    code = gaps.argmin(axis=1)
    np.testing.assert_array_equal(found.codes[:, level], code)
    left, total = left - book[code], total + book[code]
  np.testing.assert_allclose(found.vectors, total, atol=1e-6)
  assert not found.assign


@pytest.mark.slow
def test_by_gradient_codes_move_to_residuals_and_vectors_to_codes():
  layer, params, z, where = _setup(ema=False)

  def loss(params, z, name):
    return jnp.sum(getattr(_apply(layer, params, z, where, False), name))

  by_code = jax.grad(loss, argnums=(0, 1))
  params_grad, z_grad = by_code(params, z, "codebook")
  assert jnp.abs(params_grad["level_1"]["embedding"]).max() > 0
  assert not z_grad.any()
  # Codes of the first level feel their own residuals only.
  found = _apply(layer, params, z, where, False)
  book = params["level_0"]["embedding"]
  used = int(found.codes[0, 0])
  mine = found.codes[:, 0] == used
  expected = jnp.sum(2 * (book[used][None] - z) / 3 * mine[:, None], axis=0)
  np.testing.assert_allclose(
    params_grad["level_0"]["embedding"][used], expected, rtol=1e-5
  )
  params_grad, z_grad = by_code(params, z, "commitment")
  assert z_grad.any()
  assert not any(x.any() for x in jax.tree.leaves(params_grad))


def test_averages_take_no_gradient():
  layer, params, z, where = _setup(ema=True)
  grads = jax.grad(
    lambda p: (
      jnp.sum(_apply(layer, p, z, where, False).commitment)
      + jnp.sum(_apply(layer, p, z, where, False).vectors)
    )
  )(params)
  assert not any(x.any() for x in jax.tree.leaves(grads))
  assert not _apply(layer, params, z, where).codebook.any()


def test_averages_of_one_batch_again_and_again_are_its_means():
  layer, params, z, where = _setup(decay=0.5)
  apply = jax.jit(lambda p: _apply(layer, p, z, where))
  for _ in range(60):
    for path, (mask, value) in apply(params).assign.items():
      assert mask.all()
      params[path[0]][path[1]] = value
  found = apply(params)
  first = np.array(found.codes[:, 0])
  for code in np.unique(first[np.array(where)]):
    mine = np.array(where) & (first == code)
    np.testing.assert_allclose(
      params["level_0"]["embedding"][code],
      np.array(z)[mine].mean(axis=0),
      atol=1e-4,
    )
    share = mine.sum() / float(where.sum())
    assert float(params["level_0"]["usage"][code]) == pytest.approx(share)


def test_what_is_masked_teaches_nothing():
  layer, params, z, where = _setup()
  wild = jnp.where(where[:, None], z, 1e3)
  a, b = (_apply(layer, params, x, where).assign for x in (z, wild))
  for path in a:
    np.testing.assert_allclose(a[path][1], b[path][1], atol=1e-5)
  nothing = _apply(layer, params, z, jnp.zeros_like(where)).assign
  for path, (_, value) in nothing.items():
    if path[1] != "embedding":
      np.testing.assert_allclose(value, params[path[0]][path[1]], atol=1e-6)


@pytest.mark.parametrize("ema", [True, False])
def test_dead_codes_move_to_residuals_of_the_batch(ema):
  layer, params, z, where = _setup(ema=ema, reset_share=0.5, decay=0.9)
  params["level_0"]["embedding"] = params["level_0"]["embedding"].at[2].set(99)
  params["level_0"]["usage"] = params["level_0"]["usage"].at[2].set(0.01)
  mask, value = _apply(layer, params, z, where).assign["level_0", "embedding"]
  assert mask[2].all()
  gaps = np.abs(np.array(z) - np.array(value[2])[None]).sum(axis=1)
  assert gaps[np.array(where)].min() < 1e-6
  if not ema:
    # Codes in use are left to their gradient.
    assert not mask[np.array(_used(layer, params, z, where))].any()
  _, usage = _apply(layer, params, z, where).assign["level_0", "usage"]
  assert float(usage[2]) == pytest.approx(1 / 6)


def _used(layer, params, z, where):
  codes = np.array(_apply(layer, params, z, where).codes[:, 0])
  counts = np.bincount(codes[np.array(where)], minlength=6)
  return np.flatnonzero(counts >= 4)


def test_sinkhorn_spreads_codes_in_training_only():
  layer, params, z, where = _setup(sinkhorn=(0.01, 0.0), sinkhorn_rounds=300)
  params["level_0"]["embedding"] = params["level_0"]["embedding"].at[1:].add(9)
  sizes = []
  for train in (False, True):
    codes = np.array(_apply(layer, params, z, where, train).codes[:, 0])
    sizes.append(np.bincount(codes[np.array(where)], minlength=6))
  assert sizes[0][0] > 30
  assert sizes[1].max() <= 9 and sizes[1].min() >= 3


def test_commitment_to_the_sum_is_that_of_the_last_level_last():
  layer, params, z, where = _setup()
  plain = _apply(layer, params, z, where, False)
  both = _apply(layer.clone(cumulative=True), params, z, where, False)
  np.testing.assert_allclose(plain.commitment, both.commitment, rtol=1e-5)
  # Equal in value; the gradients agree too, since codes take none of them.
  grads = [
    jax.grad(
      lambda z, layer=layer: jnp.sum(
        _apply(layer, params, z, where, False).commitment
      )
    )(z)
    for layer in (layer, layer.clone(cumulative=True))
  ]
  np.testing.assert_allclose(*grads, atol=1e-5)


def test_a_softness_for_each_level():
  with pytest.raises(ValueError, match="each of the 2 levels"):
    ResidualQuantizer(_SIZES, 3, sinkhorn=(0.1,))


def test_random_rows_are_real_and_different():
  x = jnp.arange(10.0)[:, None]
  where = (jnp.arange(10) % 2).astype(bool)
  drawn, there = random_rows(x, where, 8, jax.random.key(0))
  assert there.tolist() == [True] * 5 + [False] * 3
  assert sorted(drawn[:5, 0].tolist()) == [1, 3, 5, 7, 9]
  more, there = random_rows(x, where, 12, jax.random.key(0))
  assert there.sum() == 5 and more.shape == (12, 1)


def test_new_rows_are_at_no_code_and_there_once():
  x = jnp.array([7.0, 1, 3, 3, 2, 7, 1])[:, None]
  where = jnp.array([False, True, True, True, True, True, True])
  free = new_rows(x, where, jnp.array([[2.0], [5.0]]))
  assert free.tolist() == [False, True, True, False, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize("distinct", [2, 9])
def test_no_two_dead_codes_move_to_one_vector(ema, distinct):
  layer, params, z, where = _setup(ema=ema, reset_share=0.5, decay=0.9)
  z = z[jnp.arange(z.shape[0]) % distinct]
  # One code has everything, and one of the dead is at a residual by itself.
  book = params["level_0"]["embedding"]
  book = (book * 0.1 + 50).at[0].set(z[:distinct].mean(axis=0))
  dead = jnp.arange(6) > 0
  if not ema:
    book = book.at[5].set(z[0])
    dead = dead.at[5].set(False)
  params["level_0"]["embedding"] = book
  params["level_0"]["usage"] = jnp.where(dead, 1e-3, 0.5)
  params["level_0"]["sums"] = book * jnp.where(dead, 1e-3, 0.5)[:, None]
  assign = _apply(layer, params, z, where).assign
  mask, value = assign["level_0", "embedding"]
  after = np.where(mask, value, book)
  assert len(np.unique(after, axis=0)) == 6
  gaps = np.abs(after[:, None] - np.asarray(z)[None]).sum(axis=2).min(axis=1)
  at_vector = (gaps < 1e-6) & np.asarray(dead)
  # Where there are too few, the others stay dead where they were.
  free = distinct if ema else distinct - 1
  assert at_vector.sum() == min(int(dead.sum()), free)
  usage = np.asarray(assign["level_0", "usage"][1])
  np.testing.assert_allclose(usage[at_vector], 1 / 6, rtol=1e-6)
  assert (usage[np.asarray(dead) & ~at_vector] < 0.01).all()


def test_codes_are_nearest_far_from_0():
  layer, params, z, where = _setup()
  z = z + 1e4
  book = params["level_0"]["embedding"] + 1e4
  params["level_0"]["embedding"] = book
  found = _apply(layer, params, z, where, train=False)
  gaps = np.float64(z)[:, None] - np.float64(book)[None]
  squares = np.square(gaps).sum(axis=2)
  np.testing.assert_array_equal(found.codes[:, 0], squares.argmin(axis=1))


def test_averages_are_shares_of_the_batch():
  usage, sums = averages(
    jnp.array([0.5, 0.5]),
    jnp.zeros((2, 1)),
    jnp.array([[2.0], [4.0], [9.0], [5.0]]),
    jnp.array([0, 0, 1, 1]),
    jnp.array([True, True, True, False]),
    0.9,
  )
  np.testing.assert_allclose(usage, [0.45 + 0.2 / 3, 0.45 + 0.1 / 3])
  np.testing.assert_allclose(sums[:, 0], [0.2, 0.3], rtol=1e-6)
