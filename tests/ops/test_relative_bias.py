# SPDX-License-Identifier: Apache-2.0
"""The relative bias is three look-ups; tables that do not fit are errors."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.relative_bias import BiasTables, alibi_slopes
from genrec_jax.ops.time_buckets import time_buckets

_HEADS, _LENGTH, _REACH = 3, 6, 4


def _pairs(seed=1):
  rng = np.random.default_rng(seed)
  times = np.sort(rng.integers(0, 10_000, (2, _LENGTH)))
  seconds = times[:, :, None] + 7 - times[:, None, :]
  offset = np.arange(_LENGTH)[None, :] - np.arange(_LENGTH)[:, None]
  return rng, jnp.asarray(offset), jnp.asarray(seconds, jnp.int32)


@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_the_bias_is_a_look_up_by_distance_and_bucket(per_head, batched):
  rng, offset, seconds = _pairs()
  heads = (_HEADS,) if per_head else ()
  position = rng.normal(size=(*heads, 2 * _REACH - 1)).astype(np.float32)
  time = rng.normal(size=(*heads, 129)).astype(np.float32)
  slopes = (0.5, 0.25, 0.125)
  tables = BiasTables(jnp.asarray(position), jnp.asarray(time), slopes)
  given = jnp.broadcast_to(offset, seconds.shape) if batched else offset
  got = tables.of_pairs(given, seconds)
  assert got.shape == (2, _HEADS, _LENGTH, _LENGTH)
  buckets = np.asarray(time_buckets(seconds))
  for b, h, i, j in np.ndindex(*got.shape):
    near = min(max(j - i, -(_REACH - 1)), _REACH - 1) + _REACH - 1
    expected = (
      np.atleast_2d(position)[h if per_head else 0, near]
      + np.atleast_2d(time)[h if per_head else 0, buckets[b, i, j]]
      - slopes[h] * abs(j - i)
    )
    assert got[b, h, i, j] == pytest.approx(expected, abs=1e-6)


def test_no_table_is_no_bias():
  assert BiasTables().of_pairs(jnp.zeros((2, 2), int), None) is None


@pytest.mark.parametrize(
  ("tables", "message"),
  [
    (BiasTables(position=jnp.zeros(4)), "an odd number, 2n - 1"),
    (BiasTables(position=jnp.zeros((2, 5))), r"\(3, n\), one per head"),
    (BiasTables(time=jnp.zeros((4, 5))), "bias.time has shape"),
    (BiasTables(slopes=(1.0,)), "1 ALiBi slopes for 3 heads"),
  ],
)
def test_tables_that_do_not_fit_are_errors(tables, message):
  with pytest.raises(ValueError, match=message):
    tables.check(_HEADS)


def test_slopes_of_alibi_halve_for_eight_heads():
  assert alibi_slopes(8) == tuple(2.0**-h for h in range(1, 9))
  assert alibi_slopes(4) == (2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8)
  bias = BiasTables(slopes=alibi_slopes(2))
  offset = np.array([[0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
  got = bias.of_pairs(jnp.asarray(offset), None)
  expected = -np.abs(offset)[None] * np.array([1 / 16, 1 / 256])[:, None, None]
  np.testing.assert_allclose(got[0], expected, rtol=1e-6)
