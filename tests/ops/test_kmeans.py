# SPDX-License-Identifier: Apache-2.0
"""k-means: means of cells, no dead codes, equal cells, any block size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops import kmeans as module
from genrec_jax.ops.kmeans import code_sums, kmeans, nearest


def _clusters(num, size, width=5, spread=0.05, seed=0):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(num, width))
  noise = rng.normal(size=(num, size, width)) * spread
  return (centers[:, None] + noise).reshape(-1, width).astype(np.float32)


def _fit(vectors, num_codes, **options):
  return kmeans(
    jnp.asarray(vectors), jax.random.key(0), num_codes=num_codes, **options
  )


def test_centers_are_the_means_of_their_cells():
  x = np.random.default_rng(1).normal(size=(400, 6)).astype(np.float32)
  centers, prices = _fit(x, 12, iterations=200)
  codes = np.asarray(nearest(jnp.asarray(x), centers, prices))
  for code in range(12):
    np.testing.assert_allclose(
      centers[code], x[codes == code].mean(axis=0), atol=1e-5
    )
  assert not np.asarray(prices).any()


def test_separated_clusters_are_found():
  x = _clusters(8, 40)
  centers, _ = _fit(x, 8)
  codes = np.asarray(nearest(jnp.asarray(x), centers)).reshape(8, 40)
  assert (codes == codes[:, :1]).all()
  assert len(set(codes[:, 0].tolist())) == 8


def test_no_code_is_dead_where_vectors_differ():
  # One far outlier attracts a start; most of the rest is one dense heap.
  x = _clusters(1, 300, spread=1e-3)
  x[0] += 100
  centers, _ = _fit(x, 64)
  codes = np.asarray(nearest(jnp.asarray(x), centers))
  assert len(np.unique(codes)) == 64


def test_equal_vectors_leave_codes_unused_and_finite():
  x = np.ones((20, 3), np.float32)
  for balanced in (False, True):
    centers, prices = _fit(x, 4, balanced=balanced)
    assert np.isfinite(centers).all() and np.isfinite(prices).all()
    np.testing.assert_allclose(centers, 1.0, atol=1e-6)


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
  assert 80 <= sizes[True].min() and sizes[True].max() <= 120


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
