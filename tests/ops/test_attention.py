# SPDX-License-Identifier: Apache-2.0
"""Both attentions against loops; causal, packed, and blind to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.packed_rows import map_row_blocks
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention
from genrec_jax.ops.softmax_attention import softmax_attention

_ROWS, _LENGTH, _HEADS, _KEY, _VALUE = 3, 9, 2, 4, 5
_NORMALIZER = 11.0


def _silu(q, k, v, info, **kwargs):
  return silu_attention(q, k, v, info, normalizer=_NORMALIZER, **kwargs)


_BOTH = pytest.mark.parametrize("attention", [_silu, softmax_attention])


def _inputs(seed=0):
  """Rows of two users and padding, of one user, and of padding alone."""
  rng = np.random.default_rng(seed)
  segments = np.zeros((_ROWS, _LENGTH), np.int32)
  segments[0, :4], segments[0, 4:8], segments[1] = 1, 2, 1
  times = np.sort(rng.integers(0, 100_000, (_ROWS, _LENGTH)), axis=1)
  positions = np.tile(np.arange(_LENGTH, dtype=np.int32), (_ROWS, 1))
  positions[0, 4:8] -= 4
  info = SequenceInfo(
    segment_ids_BL=jnp.asarray(segments),
    positions_BL=jnp.asarray(positions),
    key_times_BL=jnp.asarray(times, jnp.int32),
    query_times_BL=jnp.asarray(times + 60, jnp.int32),
  )
  shape = (_ROWS, _LENGTH, _HEADS)
  # Large enough that SiLU is far from linear.
  q, k = (jnp.asarray(rng.normal(0, 1.5, (*shape, _KEY))) for _ in range(2))
  v = jnp.asarray(rng.normal(size=(*shape, _VALUE)))
  bias = BiasTables(
    jnp.asarray(rng.normal(size=2 * _LENGTH - 1)),
    jnp.asarray(rng.normal(size=129)),
  )
  return q, k, v, info, bias


def _sees(info, b, i, j):
  segments = np.asarray(info.segment_ids_BL)
  return j <= i and segments[b, i] == segments[b, j] and segments[b, i] > 0


def _loops(q, k, v, info, bias, kind):
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  offset = np.arange(_LENGTH)[None, :] - np.arange(_LENGTH)[:, None]
  times = info.key_times_BL[:, None, :]
  dense = bias.of_pairs(
    jnp.asarray(offset), info.query_times_BL[:, :, None] - times
  )
  dense = np.asarray(dense, np.float64)[:, 0]
  out = np.zeros(v.shape)
  for b, i, h in np.ndindex(_ROWS, _LENGTH, _HEADS):
    keys = [j for j in range(_LENGTH) if _sees(info, b, i, j)]
    if not keys:
      continue
    scores = np.array([q[b, i, h] @ k[b, j, h] + dense[b, i, j] for j in keys])
    if kind is _silu:
      weights = scores / (1 + np.exp(-scores)) / _NORMALIZER
    else:
      weights = np.exp(scores - scores.max())
      weights /= weights.sum()
    out[b, i, h] = weights @ v[b, keys, h]
  return out


@pytest.mark.slow
@_BOTH
def test_equals_loops(attention):
  q, k, v, info, bias = _inputs()
  got = attention(q, k, v, info, bias=bias)
  expected = _loops(q, k, v, info, bias, attention)
  np.testing.assert_allclose(got, expected, atol=2e-6)


@_BOTH
def test_a_row_of_padding_is_zero_with_zero_gradients(attention):
  q, k, v, info, _ = _inputs()
  assert not np.any(np.asarray(attention(q, k, v, info))[2])
  gradient = jax.grad(lambda *x: attention(*x, info).sum(), (0, 1, 2))
  grads = jax.jit(gradient)(q, k, v)
  for grad in grads:
    assert np.all(np.isfinite(grad))
    assert not np.any(np.asarray(grad)[2])


@_BOTH
def test_gradients_reach_only_what_a_query_sees(attention):
  q, k, v, info, bias = _inputs()

  @jax.jit
  def gradients(b, i):
    def output(k, v):
      y = attention(q, k, v, info, bias=bias)
      return jnp.sum(y[b, i])

    return jax.grad(output, (0, 1))(k, v)

  for b, i in [(0, 2), (0, 5), (1, 0), (1, 8)]:
    reached = [np.any(np.asarray(g) != 0, axis=(2, 3)) for g in gradients(b, i)]
    for row in range(_ROWS):
      for j in range(_LENGTH):
        seen = row == b and _sees(info, b, i, j)
        assert reached[1][row, j] == seen
        assert seen or not reached[0][row, j]


@_BOTH
def test_gradients_equal_finite_differences(attention):
  q, k, v, info, bias = _inputs()
  arguments = (q, k, v, bias)

  @jax.jit
  def loss(arguments):
    *qkv, bias = arguments
    y = attention(*qkv, info, bias=bias)
    return jnp.sum(jnp.sin(y))

  rng = np.random.default_rng(3)
  ahead = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), arguments
  )

  def along(step):
    return float(
      loss(jax.tree.map(lambda x, d: x + step * d, arguments, ahead))
    )

  products = jax.tree.map(
    lambda g, d: jnp.sum(g * d), jax.jit(jax.grad(loss))(arguments), ahead
  )
  slope = float(sum(jax.tree.leaves(products)))
  # Values are float32: central differences of two widths, extrapolated.
  wide, narrow = ((along(s) - along(-s)) / (2 * s) for s in (0.04, 0.02))
  numeric = narrow + (narrow - wide) / 3
  assert slope == pytest.approx(numeric, rel=1e-2, abs=1e-2)


def test_dropout_keeps_the_mean_and_depends_on_the_key():
  q, k, v, info, _ = _inputs()

  def drop(seed):
    return softmax_attention(
      q, k, v, info, dropout=0.5, dropout_key=jax.random.key(seed)
    )

  kept = softmax_attention(q, k, v, info, dropout=0.5)
  many = jax.jit(jax.vmap(drop))(jnp.arange(4000))
  np.testing.assert_allclose(many.mean(0), kept, atol=0.12)
  assert np.any(np.asarray(many[0] != many[1]))


@pytest.mark.parametrize("rows", [1, 7, 8, 13, 24])
def test_row_blocks_equal_all_rows(rows):
  x = jnp.arange(rows * 3.0).reshape(rows, 3)
  np.testing.assert_array_equal(
    map_row_blocks(lambda y: jnp.cumsum(y, axis=1), x), jnp.cumsum(x, axis=1)
  )


@_BOTH
def test_bfloat16_stays_bfloat16(attention):
  q, k, v, info, bias = _inputs()
  low = [x.astype(jnp.bfloat16) for x in (q, k, v)]
  got = attention(*low, info, bias=bias)
  assert got.dtype == jnp.bfloat16
  expected = _loops(*low, info, bias, attention)
  np.testing.assert_allclose(got.astype(jnp.float32), expected, atol=0.06)
