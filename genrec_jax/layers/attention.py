# SPDX-License-Identifier: Apache-2.0
"""Attention as a part that a backbone is given, so configs choose it.

Both answer attention(q_BLHK, k_BLHK, v_BLHA, info, bias) -> y_BLHA of rows, and
attention.behind(...) of new tokens behind a cache (layers/cache.py). They hold
no parameters; the maths is in ops/.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.beam_attention import (
  BeamKeys,
  KeysValues,
  silu_beam_attention,
  softmax_beam_attention,
)
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
    q_BLHK: Float[Array, "B L H K"],
    k_BLHK: Float[Array, "B L H K"],
    v_BLHA: Float[Array, "B L H A"],
    info: SequenceInfo,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B L H A"]:
    """See ops/silu_attention/api.py."""
    return silu_attention(
      q_BLHK,
      k_BLHK,
      v_BLHA,
      info,
      normalizer=self.normalizer,
      bias=bias,
      scale=self.scale,
      window=self.window,
      full=self.full,
      implementation=self.implementation,
    )

  def behind(
    self,
    q_BKHE: Float[Array, "B K H E"],
    shared: KeysValues | None,
    own: KeysValues | None,
    new: KeysValues,
    keys: BeamKeys,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B K H A"]:
    """See ops/beam_attention.py; any implementation's result."""
    return silu_beam_attention(
      q_BKHE,
      shared,
      own,
      new,
      keys,
      normalizer=self.normalizer,
      bias=bias,
      scale=self.scale,
    )

  def weights(
    self,
    q_BLHK: Float[Array, "B L H K"],
    k_BLHK: Float[Array, "B L H K"],
    info: SequenceInfo,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B H L L"]:
    """Every pair's weight in float32, to look at; see reference.py there."""
    q_BLHK, k_BLHK = (x.astype(jnp.float32) for x in (q_BLHK, k_BLHK))
    return attention_weights(
      q_BLHK,
      k_BLHK,
      Rows.of(info, self.normalizer, self.window, self.full),
      BiasTables() if bias is None else bias,
      self.scale,
    )


@dataclasses.dataclass(frozen=True)
class SoftmaxAttention:
  """softmax(scale q k^T + bias); scale None means 1/sqrt(K)."""

  scale: float | None = None

  # Of SiluAttention: here every query sees all events before it.
  window = 0
  full = 0

  def __call__(
    self,
    q_BLHK: Float[Array, "B L H K"],
    k_BLHK: Float[Array, "B L H K"],
    v_BLHA: Float[Array, "B L H A"],
    info: SequenceInfo,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B L H A"]:
    """See ops/softmax_attention.py."""
    return softmax_attention(
      q_BLHK, k_BLHK, v_BLHA, info, bias=bias, scale=self._scale(q_BLHK)
    )

  def behind(
    self,
    q_BKHE: Float[Array, "B K H E"],
    shared: KeysValues | None,
    own: KeysValues | None,
    new: KeysValues,
    keys: BeamKeys,
    bias: BiasTables | None = None,
  ) -> Float[Array, "B K H A"]:
    """See ops/beam_attention.py."""
    scale = self._scale(q_BKHE)
    return softmax_beam_attention(
      q_BKHE, shared, own, new, keys, bias=bias, scale=scale
    )

  def _scale(self, q: Array) -> float:
    return q.shape[-1] ** -0.5 if self.scale is None else self.scale


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
