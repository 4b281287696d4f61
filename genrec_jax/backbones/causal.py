# SPDX-License-Identifier: Apache-2.0
"""A causal Transformer with a key/value cache, made of T5's parts.

    h = h + Attention(RMSNorm(h)),  h = h + FFN(RMSNorm(h)),  RMSNorm at the end

Three ways through the same parameters, equal to each other:

    __call__   packed rows, all positions at once            training
    start      one history per row; keeps keys and values    decoding, once
    step       one more token per beam, K beams a request    decoding

The cache holds a history's keys and values once, whatever the number of beams,
and those of generated tokens per beam (ops/beam_attention.py).
"""

from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.transformer import (
  LOGICAL_AXES,
  FeedForward,
  Heads,
  RelativeBuckets,
)
from genrec_jax.ops.beam_attention import beam_attention, follow
from genrec_jax.ops.softmax_attention import softmax_attention


class CausalTransformer(nn.Module):
  """See the module docstring.

  Attributes:
    width: D.
    num_layers: blocks.
    num_heads: H.
    head_width: E.
    ffn_width: hidden width of the feed-forward part.
    dropout: in the feed-forward part and on what each part adds.
    attention_dropout: on attention weights; on a CPU, drawing them costs as
      much as all else.
    num_buckets: of relative positions, counted in tokens.
    max_distance: farther tokens share a bucket.
    dtype: of the matrix products; parameters are float32.
  """

  width: int
  num_layers: int
  num_heads: int
  head_width: int
  ffn_width: int
  dropout: float = 0.0
  attention_dropout: float = 0.0
  num_buckets: int = 32
  max_distance: int = 128
  dtype: str = "float32"

  uses_time = False
  logical_axes = LOGICAL_AXES

  def setup(self):
    layers = range(self.num_layers)
    self.attention = [
      Heads(self.width, self.num_heads, self.head_width, self.dtype)
      for _ in layers
    ]
    self.ffn = [
      FeedForward(self.width, self.ffn_width, self.dropout, self.dtype)
      for _ in layers
    ]
    self.attention_norm = [nn.RMSNorm(dtype=self.dtype) for _ in layers]
    self.ffn_norm = [nn.RMSNorm(dtype=self.dtype) for _ in layers]
    self.final_norm = nn.RMSNorm(dtype=self.dtype)
    self.bias = RelativeBuckets(
      self.num_heads, self.num_buckets, self.max_distance
    )
    self.drop = nn.Dropout(self.dropout)

  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    *,
    deterministic: bool,
  ) -> Float[Array, "B L D"]:
    """Packed rows of tokens (B, L, D) -> hidden states (B, L, D)."""
    return self._rows(x_BLD, info, deterministic)[0]

  def start(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo
  ) -> tuple[Float[Array, "B L D"], dict[str, Any]]:
    """Hidden states of histories, one per row, and their cache."""
    h_BLD, shared = self._rows(x_BLD, info, True)
    cache = {
      "shared": shared,
      "keep": info.valid_BL,
      "length": jnp.sum(info.valid_BL, axis=1),
      "own": (None,) * self.num_layers,
    }
    return h_BLD, cache

  def step(
    self,
    y_BKD: Float[Array, "B K D"],
    cache: dict[str, Any],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Float[Array, "B K D"], dict[str, Any]]:
    """Hidden states of one more token of each beam, and the cache with it.

    Args:
      y_BKD: embedded tokens.
      cache: of `start` or of the step before.
      parents_BK: the beam of the step before that each one goes on from; not
        read in the first step.
    """
    own_before = cache["own"]
    count = 1 if own_before[0] is None else own_before[0][0].shape[2] + 1
    own_bias_HT = self.bias.by_offset(np.arange(1 - count, 1))
    shared_bias_BHL = self.bias.to_generated(
      cache["length"], cache["keep"].shape[1], count - 1
    )
    h, own = y_BKD, []
    for i in range(self.num_layers):
      z = self.attention_norm[i](h)
      keys_values = self.attention[i].keys_values(z)
      own.append(follow(own_before[i], keys_values, parents_BK))
      y = beam_attention(
        self.attention[i].queries(z),
        cache["shared"][i],
        own[i],
        keep_BL=cache["keep"],
        shared_bias_BHL=shared_bias_BHL,
        own_bias_HT=own_bias_HT,
      )
      h = h + self.attention[i].merge(y)
      h = h + self.ffn[i](self.ffn_norm[i](h), True)
    return self.final_norm(h), {**cache, "own": tuple(own)}

  def _rows(self, x_BLD, info, deterministic):
    h, shared = x_BLD, []
    bias_HLL = self.bias.of_row(x_BLD.shape[1])
    drops = self.attention_dropout > 0 and not deterministic
    for i in range(self.num_layers):
      z = self.attention_norm[i](h)
      k, v = self.attention[i].keys_values(z)
      shared.append((k, v))
      y = softmax_attention(
        self.attention[i].queries(z),
        k,
        v,
        info,
        added_HLL=bias_HLL,
        dropout=self.attention_dropout,
        dropout_key=self.make_rng("dropout") if drops else None,
      )
      y = self.attention[i].merge(y)
      h = h + self.drop(y, deterministic=deterministic)
      y = self.ffn[i](self.ffn_norm[i](h), deterministic)
      h = h + self.drop(y, deterministic=deterministic)
    return self.final_norm(h), tuple(shared)
