# SPDX-License-Identifier: Apache-2.0
"""k-means: means of cells, no dead codes, equal cells, any block size."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops import kmeans as module
from genrec_jax.ops.kmeans import (
  code_sums,
  draw_by_weight,
  kmeans,
  kmeans_plus_plus,
  nearest,
  squared_distances,
)


def _clusters(num, size, width=5, spread=0.05, seed=0):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(num, width))
  noise = rng.normal(size=(num, size, width)) * spread
  return (centers[:, None] + noise).reshape(-1, width).astype(np.float32)


def _fit(vectors, num_codes, **options):
  return kmeans(
    jnp.asarray(vectors), jax.random.key(0), num_codes=num_codes, **options
  )


@pytest.mark.slow
def test_centers_are_the_means_of_their_cells():
  x = np.random.default_rng(1).normal(size=(400, 6)).astype(np.float32)
  centers, prices = _fit(x, 12, iterations=200)
  codes = np.asarray(nearest(jnp.asarray(x), centers, prices))
  for code in range(12):
    np.testing.assert_allclose(
      centers[code], x[codes == code].mean(axis=0), atol=1e-5
    )
  assert not np.asarray(prices).any()


@pytest.mark.slow
def test_separated_clusters_are_found():
  x = _clusters(8, 40)
  centers, _ = _fit(x, 8)
  codes = np.asarray(nearest(jnp.asarray(x), centers)).reshape(8, 40)
  assert (codes == codes[:, :1]).all()
  assert len(set(codes[:, 0].tolist())) == 8


@pytest.mark.slow
def test_no_code_is_dead_where_vectors_differ():
  # One far outlier attracts a start; most of the rest is one dense heap.
  x = _clusters(1, 300, spread=1e-3)
  x[0] += 100
  centers, _ = _fit(x, 64)
  codes = np.asarray(nearest(jnp.asarray(x), centers))
  assert len(np.unique(codes)) == 64


@pytest.mark.slow
def test_equal_vectors_leave_codes_unused_and_finite():
  x = np.ones((20, 3), np.float32)
  for balanced in (False, True):
    centers, prices = _fit(x, 4, balanced=balanced)
    assert np.isfinite(centers).all() and np.isfinite(prices).all()
    np.testing.assert_allclose(centers, 1.0, atol=1e-6)


@pytest.mark.slow
def test_balanced_cells_are_about_equal():
  # Crowded around a few points: plain cells are very unequal.
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2000, 4)) * rng.gamma(1.0, size=(2000, 1))
  x = x.astype(np.float32)
  sizes = {}
  for balanced in (False, True):
    centers, prices = _fit(x, 20, balanced=balanced)
    codes = np.asarray(nearest(jnp.asarray(x), centers, prices))
    sizes[balanced] = np.bincount(codes, minlength=20)
    # Centers are the means of these very cells.
    means = np.stack([x[codes == c].mean(axis=0) for c in range(20)])
    error, best = (
      np.square(x - book[codes]).sum() for book in (np.array(centers), means)
    )
    assert error < 1.02 * best
  assert sizes[False].max() > 250 and sizes[False].min() < 50
  # Over eight seeds: 75 to 144.
  assert 70 <= sizes[True].min() and sizes[True].max() <= 150


@pytest.mark.slow
@pytest.mark.parametrize("balanced", [False, True])
def test_blocks_change_nothing(monkeypatch, balanced):
  x = _clusters(7, 30, spread=0.4)
  # Not of the shape of another test: jit would reuse its trace.
  whole = _fit(x[:203], 7, balanced=balanced, iterations=20)
  monkeypatch.setattr(module, "_BLOCK_DISTANCES", 7 * 50)
  kmeans.clear_cache()
  blocks = _fit(x[:203], 7, balanced=balanced, iterations=20)
  kmeans.clear_cache()
  for a, b in zip(whole, blocks, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_same_seed_same_centers_and_another_seed_others():
  x = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
  first = _fit(x, 9, sample=100)[0]
  np.testing.assert_array_equal(first, _fit(x, 9, sample=100)[0])
  other, _ = kmeans(jnp.asarray(x), jax.random.key(1), num_codes=9, sample=100)
  assert np.abs(first - other).max() > 0.1


def test_sums_leave_out_vectors_of_no_code():
  x = jnp.arange(8.0).reshape(4, 2)
  sums, sizes = code_sums(x, jnp.array([1, 1, 2, 0]), 2)
  np.testing.assert_array_equal(sums, [[6, 7], [2, 4]])
  np.testing.assert_array_equal(sizes, [1, 2])


def test_sums_are_those_of_a_matrix_product():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(97, 2)).astype(np.float32)
  codes = rng.integers(0, 32, 97)
  sums, sizes = jax.jit(code_sums, static_argnums=2)(x, codes, 31)
  one_hot = codes[:, None] == np.arange(31)[None]
  np.testing.assert_allclose(sums, one_hot.T @ x.astype(np.float64), atol=1e-5)
  np.testing.assert_array_equal(sizes, one_hot.sum(axis=0))


def test_sums_hold_nothing_of_vectors_by_codes():
  x, codes = np.zeros((97, 2), np.float32), np.zeros(97, np.int32)
  made = jax.make_jaxpr(lambda x, c: code_sums(x, c, 31))(x, codes)
  assert max(_sizes(made.jaxpr)) < 97 * 31


def _sizes(jaxpr):
  """Sizes of all arrays of a program and of those inside it."""
  for equation in jaxpr.eqns:
    for variable in (*equation.invars, *equation.outvars):
      yield variable.aval.size
    for value in equation.params.values():
      inner = getattr(value, "jaxpr", None)
      if inner is not None:
        yield from _sizes(inner)


def _squares(x, centers):
  """Squared distances in float64, one by one."""
  gaps = x.astype(np.float64)[:, None] - np.float64(centers)[None]
  return np.square(gaps).sum(axis=2)


@pytest.mark.parametrize("offset", [0, 1e2, 1e4, 1e6])
def test_codes_are_nearest_wherever_0_is(offset):
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(300, 6)) + offset).astype(np.float32)
  centers = (rng.normal(size=(40, 6)) + offset).astype(np.float32)
  exact = _squares(x, centers)
  codes = np.asarray(nearest(jnp.asarray(x), jnp.asarray(centers)))
  assert (exact[np.arange(300), codes] - exact.min(axis=1)).max() < 1e-5
  found = squared_distances(jnp.asarray(x), jnp.asarray(centers))
  np.testing.assert_allclose(found, exact, atol=1e-4)
  prices = rng.random(40).astype(np.float32)
  priced = nearest(*map(jnp.asarray, (x, centers, prices)))
  codes = np.asarray(priced)
  exact += prices[None]
  assert (exact[np.arange(300), codes] - exact.min(axis=1)).max() < 1e-5


def test_a_center_far_off_takes_no_bits_from_the_others():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(300, 6)).astype(np.float32)
  centers = rng.normal(size=(40, 6)).astype(np.float32)
  centers[7] = 1e5
  exact = _squares(x, centers)
  codes = np.asarray(nearest(jnp.asarray(x), jnp.asarray(centers)))
  assert (exact[np.arange(300), codes] - exact.min(axis=1)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("balanced", [False, True])
def test_clusters_far_from_0_are_found(balanced):
  x = _clusters(4, 3000, width=3) + np.float32(1e4)
  centers, prices = _fit(x, 4, balanced=balanced, iterations=20)
  codes = np.asarray(nearest(jnp.asarray(x), centers, prices)).reshape(4, 3000)
  assert (codes == codes[:, :1]).all()
  assert len(set(codes[:, 0].tolist())) == 4
  means = x.reshape(4, 3000, 3).mean(axis=1, dtype=np.float64)
  # Half the distance of two float32 there.
  np.testing.assert_allclose(centers[codes[:, 0]], means, atol=5e-4, rtol=0)


_draw = jax.jit(draw_by_weight, static_argnums=1)


def test_draws_are_as_frequent_as_their_weights():
  weight = np.float32([1, 0, 2, 3, 0, 0, 4, 0])
  drawn = _draw(weight, 20_000, jax.random.key(0))
  found = np.bincount(drawn, minlength=8) / 20_000
  assert not found[weight == 0].any()
  np.testing.assert_allclose(found, weight / 10, atol=0.012)  # 3.5 sigma


def test_draws_reach_indices_that_one_sum_would_not():
  # Beside 2^23 a float32 keeps whole numbers: four of these weights.
  weight = np.full(1 << 15, 0.25, np.float32)
  weight[0] = 1 << 23
  drawn = np.asarray(_draw(weight, 1 << 17, jax.random.key(0)))
  rest = drawn[drawn > 0]
  # One in a thousand, of all places alike.
  assert 80 < len(rest) < 180
  for part in (rest % 4, rest >> 13):
    assert (np.bincount(part, minlength=4) > len(rest) / 8).all()


@pytest.mark.slow
def test_starts_differ_where_vectors_do():
  # Six vectors far from each other, and six that rounding hardly tells apart.
  rng = np.random.default_rng(0)
  apart = rng.normal(size=(6, 4))
  close = 3 + 1e-4 * rng.normal(size=(6, 4))
  x = np.repeat(np.concatenate([apart, close]), 50, axis=0).astype(np.float32)
  x = jnp.asarray(rng.permutation(x))
  start = jax.jit(kmeans_plus_plus, static_argnums=1)
  for seed in range(5):
    assert len(np.unique(start(x, 12, jax.random.key(seed)), axis=0)) == 12
  # More than there are: all of them, and some again.
  more = np.asarray(kmeans_plus_plus(x, 14, jax.random.key(0)))
  assert len(np.unique(more, axis=0)) == 12


@pytest.mark.slow
@pytest.mark.parametrize("balanced", [False, True])
@settings(max_examples=40)
@given(
  values=st.lists(st.sampled_from([0, 1, 2, 3, 9, 50]), min_size=7, max_size=7),
  seed=st.integers(0, 3),
)
def test_no_two_codes_are_one_where_enough_vectors_differ(
  balanced, values, seed
):
  # Five differ for sure, and any of them may be there up to eight times.
  x = np.array([0, 1, 2, 9, 50, *values], np.float32)[:, None]
  centers, _ = _few_rounds(balanced)(x, jax.random.key(seed))
  assert len(np.unique(centers)) == 5


@functools.cache
def _few_rounds(balanced):
  return functools.partial(kmeans, num_codes=5, iterations=2, balanced=balanced)


@pytest.mark.slow
def test_empty_codes_do_not_move_to_one_outlier():
  # A start at one place, and the worst coded vector there five times.
  x = np.float32([[0, 0], [0, 0], [1, 0], [0, 1], *[[9, 9]] * 5])
  blocks = module._Blocks(jnp.asarray(x), 4)
  centers, _ = jax.jit(blocks.round)(jnp.zeros((4, 2)), jnp.zeros(4))
  assert len(np.unique(centers, axis=0)) == 4
  assert (np.asarray(centers)[1] == 9).all()
