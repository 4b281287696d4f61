# SPDX-License-Identifier: Apache-2.0
"""A causal Transformer with a key/value cache, made of T5's parts.

    h = h + Attention(RMSNorm(h)),  h = h + FFN(RMSNorm(h)),  RMSNorm at the end

Four ways through the same parameters, equal to each other:

    __call__   packed rows, all positions at once            training
    start      one history per row; keeps keys and values    decoding, once
    extend     N more tokens of each history                 decoding, again
    step       one more token per beam, K beams a request    decoding

The cache (layers/cache.py) holds a history's keys and values once, whatever the
number of beams, and those of generated tokens per beam.
"""

from flax import linen as nn
from jaxtyping import Array, Float, Int

from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import Dim, SequenceInfo
from genrec_jax.layers.cache import Cache
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.further_tokens import seen_in_run, with_run
from genrec_jax.layers.transformer import (
  LOGICAL_AXES,
  FeedForward,
  Heads,
  RelativeBuckets,
)
from genrec_jax.ops.beam_attention import softmax_beam_attention
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
  extends = True
  max_length = NO_LIMIT
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
    self.drop = Dropout(self.dropout)

  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    *,
    deterministic: bool,
  ) -> Float[Array, "B L D"]:
    """Packed rows of tokens (B, L, D) -> hidden states (B, L, D)."""
    return self._rows(x_BLD, info, deterministic)[0]

  def init_cache(self, batch: Dim, length: int) -> Cache:
    """See layers/cache.py, as of the two methods that follow."""
    widths = (self.head_width, self.head_width)
    return Cache.empty(
      batch, length, self.num_layers, self.num_heads, widths, self.dtype
    )

  def start(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, length: int
  ) -> tuple[Float[Array, "B L D"], Cache]:
    """Hidden states of histories, one per row, and their cache."""
    h_BLD, shared = self._rows(x_BLD, info, True)
    return h_BLD, self.init_cache(x_BLD.shape[0], length).behind(shared, info)

  def step(
    self,
    y_BKD: Float[Array, "B K D"],
    cache: Cache,
    info: SequenceInfo,
    parents_BK: Int[Array, "B K"] | None = None,
  ) -> tuple[Float[Array, "B K D"], Cache]:
    """Hidden states of one more token of each beam, and the cache with it."""
    cache = cache.follow(parents_BK, y_BKD.shape[1])
    before = [cache.layer(i) for i in range(self.num_layers)]
    h, new = self._behind(y_BKD, before, cache.seen(info))
    return cache.then(h, new, info)

  def extend(
    self, x_BND: Float[Array, "B N D"], cache: Cache, info: SequenceInfo
  ) -> tuple[Float[Array, "B N D"], Cache]:
    """Hidden states of N more tokens of each row, and the cache with them."""
    before = [(cache.layer(i)[0], None) for i in range(self.num_layers)]
    h, new = self._behind(x_BND, before, seen_in_run(cache, info))
    return with_run(h, cache, new, info)

  def _behind(self, y_BKD, before, keys):
    """Hidden states of new tokens, and their keys and values."""
    h, new = y_BKD, []
    for i in range(self.num_layers):
      z = self.attention_norm[i](h)
      new.append(self.attention[i].keys_values(z))
      y = softmax_beam_attention(
        self.attention[i].queries(z), *before[i], new[i], keys, bias=self.bias
      )
      h = h + self.attention[i].merge(y)
      h = h + self.ffn[i](self.ffn_norm[i](h), True)
    return self.final_norm(h), new

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
    return self.final_norm(h), shared
