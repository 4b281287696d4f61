# SPDX-License-Identifier: Apache-2.0
"""Time buckets follow the published formula and never disagree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.time_buckets import (
  bucket_cells,
  bucket_thresholds,
  time_buckets,
)

_MAX = 2**31 - 1


def _formula(seconds):
  """floor(ln(max(1, |dt|)) / 0.301) with a float32 logarithm."""
  log = np.log(np.maximum(np.abs(seconds), 1).astype(np.float32), dtype="f8")
  return np.floor(log.astype(np.float32) / np.float32(0.301)).astype(int)


def test_buckets_are_the_formula():
  rng = np.random.default_rng(0)
  seconds = np.concatenate(
    [
      np.arange(-100_000, 100_000),
      np.exp(rng.uniform(0, np.log(_MAX), 200_000)).astype(np.int64),
      [0, 1, _MAX],
    ]
  )
  got = np.asarray(time_buckets(jnp.asarray(seconds, jnp.int32)))
  np.testing.assert_array_equal(got, _formula(seconds))


def test_the_ends_of_int32():
  ends = jnp.asarray([-(2**31), -_MAX, _MAX], jnp.int32)
  assert set(np.asarray(time_buckets(ends)).tolist()) == {71}


def test_buckets_are_exact_at_every_threshold():
  # A float32 logarithm on some device may err here; integers may not.
  thresholds = np.array(bucket_thresholds())
  assert len(thresholds) == 71
  assert np.all(np.diff(thresholds) >= 0)
  at = np.asarray(time_buckets(jnp.asarray(thresholds, jnp.int32)))
  below = np.asarray(time_buckets(jnp.asarray(thresholds - 1, jnp.int32)))
  np.testing.assert_array_equal(
    at, np.searchsorted(thresholds, thresholds, "right")
  )
  np.testing.assert_array_equal(
    below, np.searchsorted(thresholds, thresholds - 1, "right")
  )


def test_jit_and_eager_agree_bitwise():
  seconds = jnp.asarray(np.arange(0, 5_000_000, 37), jnp.int32)
  np.testing.assert_array_equal(
    jax.jit(time_buckets)(seconds), time_buckets(seconds)
  )


def test_few_buckets_keep_the_last_one_open():
  got = time_buckets(jnp.array([1, 10, _MAX]), num_buckets=5)
  np.testing.assert_array_equal(got, [0, 4, 4])


@pytest.mark.parametrize("width", [0.0, -1.0, 22.0, float("nan")])
def test_a_bad_width_is_an_error(width):
  with pytest.raises(ValueError, match=f"at most 21.0, got {width}"):
    bucket_thresholds(width)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.25, 0.301, 0.6931472, 2.0])
def test_any_width_is_the_formula(width):
  rng = np.random.default_rng(2)
  seconds = np.concatenate(
    [
      np.arange(5_000),
      np.exp(rng.uniform(0, np.log(_MAX), 50_000)).astype(np.int64),
      np.clip(np.array(bucket_thresholds(width)) - 1, 0, _MAX),
      bucket_thresholds(width),
    ]
  )
  thresholds = np.array(bucket_thresholds(width))
  got = time_buckets(jnp.asarray(seconds, jnp.int32), width, 10_000)
  expected = np.searchsorted(thresholds, np.maximum(seconds, 1), "right")
  np.testing.assert_array_equal(got, expected)


def test_a_width_without_cells_is_an_error():
  with pytest.raises(ValueError, match="is below"):
    bucket_cells(1e-4)
