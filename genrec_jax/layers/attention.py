# SPDX-License-Identifier: Apache-2.0
"""Attention as a part that a backbone is given, so configs choose it.

Both answer attention(q_BQHK, k_BLHK, v_BLHA, info, bias) -> y_BQHA and hold
no parameters; the maths is in ops/. Where there are fewer queries than keys,
they are the last Q positions of the row: the others were computed before.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention
from genrec_jax.ops.silu_attention.reference import attention_weights
from genrec_jax.ops.silu_attention.rows import Rows
from genrec_jax.ops.softmax_attention import softmax_attention


@dataclasses.dataclass(frozen=True)
class SiluAttention:
  """Pointwise: SiLU(scale q k^T + bias) / normalizer.

  Attributes:
    normalizer: the constant that scores are divided by; the published model
      takes its padded length (max history + 11), never a row's own length.
    scale: multiplies q k^T (1 as published, no 1/sqrt(K)).
    window: events that a query reaches back; 0 = all.
    full: last events of a segment that the window spares.
    implementation: see ops/silu_attention/api.py; None takes the best.
  """

  normalizer: float
  scale: float = 1.0
  window: int = 0
  full: int = 0
  implementation: str | None = None

  def __call__(
    self,
    q_BQHK: Float[Array, "B Q H K"],
    k_BLHK: Float[Array, "B L H K"],
    v_BLHA: Float[Array, "B L H A"],
    info: SequenceInfo,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B Q H A"]:
    """See ops/silu_attention/api.py."""
    return silu_attention(
      q_BQHK,
      k_BLHK,
      v_BLHA,
      info,
      normalizer=self.normalizer,
      bias=bias,
      scale=self.scale,
      window=self.window,
      full=self.full,
      query_index_BQ=_last(q_BQHK, k_BLHK),
      implementation=self.implementation,
    )

  def weights(
    self,
    q_BQHK: Float[Array, "B Q H K"],
    k_BLHK: Float[Array, "B L H K"],
    info: SequenceInfo,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B H Q L"]:
    """Every pair's weight in float32, to look at; see reference.py there."""
    q_BQHK, k_BLHK = (x.astype(jnp.float32) for x in (q_BQHK, k_BLHK))
    return attention_weights(
      q_BQHK,
      k_BLHK,
      Rows.of(
        info, self.normalizer, self.window, self.full, _last(q_BQHK, k_BLHK)
      ),
      BiasTables() if bias is None else bias,
      self.scale,
    )


@dataclasses.dataclass(frozen=True)
class SoftmaxAttention:
  """softmax(scale q k^T + bias); scale None means 1/sqrt(K)."""

  scale: float | None = None

  def __call__(
    self,
    q_BQHK: Float[Array, "B Q H K"],
    k_BLHK: Float[Array, "B L H K"],
    v_BLHA: Float[Array, "B L H A"],
    info: SequenceInfo,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B Q H A"]:
    """See ops/softmax_attention.py."""
    scale = q_BQHK.shape[-1] ** -0.5 if self.scale is None else self.scale
    before = k_BLHK.shape[1] - q_BQHK.shape[1]
    q_BLHK = jnp.pad(q_BQHK, ((0, 0), (before, 0), (0, 0), (0, 0)))
    return softmax_attention(
      q_BLHK,
      k_BLHK,
      v_BLHA,
      info,
      bias=bias,
      scale=scale,
    )[:, before:]


def _last(q_BQHK, k_BLHK):
  """Places of the queries in rows of keys; None where there is one per key."""
  count, length = q_BQHK.shape[1], k_BLHK.shape[1]
  if count == length:
    return None
  return jnp.broadcast_to(jnp.arange(length - count, length), q_BQHK.shape[:2])


def split_uvqk(
  uvqk_BLE: Float[Array, "B L E"],
  num_heads: int,
  key_width: int,
  value_width: int,
) -> tuple[Array, Array, Array, Array]:
  """One projection's columns as u (B, L, H A), and v, q, k by head.

  Their order is that of HSTU's public code: u, v, q, k.
  """
  values, keys = num_heads * value_width, num_heads * key_width
  ends = [values, 2 * values, 2 * values + keys]
  u_BLE, *rest = jnp.split(uvqk_BLE, ends, axis=-1)
  v, q, k = (x.reshape(*x.shape[:2], num_heads, -1) for x in rest)
  return u_BLE, v, q, k
