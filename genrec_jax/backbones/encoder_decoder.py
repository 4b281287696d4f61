# SPDX-License-Identifier: Apache-2.0
"""T5's encoder-decoder (Raffel et al., JMLR 2020) on packed rows, with a cache.

    encoder   x + SelfAttention(x), x + FFN(x)      both sides, relative buckets
    decoder   y + SelfAttention(y), y + CrossAttention(y, x), y + FFN(y)
              causal, relative buckets; cross-attention has no bias

RMSNorm before every part and at both ends, no biases, scores not divided by
sqrt(E), one table of buckets per side shared by its layers. A row holds several
histories (segments), each with one target of M tokens, which sees its own
segment of the encoder's output. In decoding that output's keys and values are
kept once per request and shared by its beams. The decoder's feed-forward parts
may be others, such as mixtures of experts (layers/expert_feed_forward.py).

Shapes: B rows, L tokens of a row, S targets of a row, M tokens of a target, K
beams, D width, H heads of E.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.roles import CONTEXT
from genrec_jax.core.types import Dim, SequenceInfo
from genrec_jax.layers.cache import Cache
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.expert_feed_forward import below, feed
from genrec_jax.layers.routers import Routed
from genrec_jax.layers.transformer import (
  LOGICAL_AXES,
  FeedForward,
  Heads,
  PositionWise,
  RelativeBuckets,
)
from genrec_jax.ops.beam_attention import softmax_beam_attention
from genrec_jax.ops.softmax_attention import softmax_attention
from genrec_jax.ops.target_attention import attend_before, attend_context


class EncoderDecoder(nn.Module):
  """See the module docstring.

  Attributes:
    width: D.
    num_encoder_layers: blocks that read.
    num_decoder_layers: blocks that write.
    num_heads: H.
    head_width: E.
    ffn_width: hidden width of the feed-forward parts.
    dropout: on inputs, in the feed-forward parts, on what each part adds, and
      at both ends.
    attention_dropout: on attention weights of the encoder.
    num_buckets: of relative positions.
    max_distance: farther tokens share a bucket.
    ffn_of_decoder: feed-forward part of the layers that write, of which each
      has one of its own; None = as those that read.
    dtype: of the matrix products; parameters are float32.
  """

  width: int
  num_encoder_layers: int
  num_decoder_layers: int
  num_heads: int
  head_width: int
  ffn_width: int
  dropout: float = 0.0
  attention_dropout: float = 0.0
  num_buckets: int = 32
  max_distance: int = 128
  ffn_of_decoder: PositionWise | None = None
  dtype: str = "float32"

  uses_time = False
  # What an event is to the decoder depends on those behind it.
  shares_history = False

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    axes = (
      {} if self.ffn_of_decoder is None else self.ffn_of_decoder.logical_axes
    )
    return {
      **{f"decoder_ffn_*/{k}": names for k, names in axes.items()},
      **LOGICAL_AXES,
    }

  def setup(self):
    def heads(count):
      return [
        Heads(self.width, self.num_heads, self.head_width, self.dtype)
        for _ in range(count)
      ]

    def ffn(count):
      return [
        FeedForward(self.width, self.ffn_width, self.dropout, self.dtype)
        for _ in range(count)
      ]

    def norms(count):
      return [nn.RMSNorm(dtype=self.dtype) for _ in range(count)]

    def buckets(both_sides):
      return RelativeBuckets(
        self.num_heads,
        self.num_buckets,
        self.max_distance,
        both_sides=both_sides,
      )

    encoder, decoder = self.num_encoder_layers, self.num_decoder_layers
    self.encoder_attention, self.encoder_ffn = heads(encoder), ffn(encoder)
    self.encoder_norms = norms(2 * encoder + 1)
    self.encoder_bias = buckets(True)
    self.decoder_attention = heads(decoder)
    if self.ffn_of_decoder is None:
      self.decoder_ffn = ffn(decoder)
    else:
      part = self.ffn_of_decoder
      self.decoder_ffn = [part.clone(name=None) for _ in range(decoder)]
    self.cross_attention = heads(decoder)
    self.decoder_norms = norms(3 * decoder + 1)
    self.decoder_bias = buckets(False)
    self.drop = Dropout(self.dropout)

  def encode(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, deterministic: bool
  ) -> Float[Array, "B L D"]:
    """Packed rows -> what the decoder attends to."""
    # In a context prefix every token sees all others of its segment.
    roles_BL = jnp.full_like(info.segment_ids_BL, CONTEXT)
    info = SequenceInfo(
      info.segment_ids_BL,
      info.positions_BL,
      info.key_times_BL,
      info.query_times_BL,
      roles_BL,
    )
    bias_HLL = self.encoder_bias.of_row(x_BLD.shape[1])
    drops = self.attention_dropout > 0 and not deterministic
    h = self.drop(x_BLD, deterministic=deterministic)
    for i, (attention, ffn) in enumerate(
      zip(self.encoder_attention, self.encoder_ffn, strict=True)
    ):
      z = self.encoder_norms[2 * i](h)
      y = softmax_attention(
        attention.queries(z),
        *attention.keys_values(z),
        info,
        added_HLL=bias_HLL,
        dropout=self.attention_dropout,
        dropout_key=self.make_rng("dropout") if drops else None,
      )
      h = h + self.drop(attention.merge(y), deterministic=deterministic)
      y = ffn(self.encoder_norms[2 * i + 1](h), deterministic)
      h = h + self.drop(y, deterministic=deterministic)
    return self.drop(self.encoder_norms[-1](h), deterministic=deterministic)

  def decode(
    self,
    y_BSMD: Float[Array, "B S M D"],
    segment_BS: Int[Array, "B S"],
    memory_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    deterministic: bool,
  ) -> Float[Array, "B S M D"]:
    """The hidden states of decode_routed, all tokens of a target being real."""
    return self.decode_routed(
      y_BSMD, segment_BS, memory_BLD, info, deterministic
    )[0]

  def decode_routed(
    self,
    y_BSMD: Float[Array, "B S M D"],
    segment_BS: Int[Array, "B S"],
    memory_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    deterministic: bool,
    there_BSM: Bool[Array, "B S M"] | None = None,
  ) -> tuple[Float[Array, "B S M D"], list[Routed]]:
    """Hidden states of all targets, each token after those before it.

    Args:
      y_BSMD: embedded inputs of the decoder.
      segment_BS: segment that each target belongs to; 0 = none.
      memory_BLD: of `encode`.
      info: of the encoder's rows.
      deterministic: no dropout.
      there_BSM: real tokens, the first of each target; None = all of those of a
        segment. Others take no expert.

    Returns:
      Hidden states, and how layers routed tokens, of those that do.
    """
    real_BSM = jnp.broadcast_to((segment_BS > 0)[:, :, None], y_BSMD.shape[:3])
    if there_BSM is not None:
      real_BSM = real_BSM & there_BSM
    found = []
    bias_HMM = self.decoder_bias.of_row(y_BSMD.shape[2])
    sees_BSL = segment_BS[:, :, None] == info.segment_ids_BL[:, None, :]
    sees_BSL = sees_BSL & (segment_BS > 0)[:, :, None]
    h = self.drop(y_BSMD, deterministic=deterministic)
    for i, ffn in enumerate(self.decoder_ffn):
      z = self.decoder_norms[3 * i](h)
      attention = self.decoder_attention[i]
      y = attend_before(
        attention.queries(z), *attention.keys_values(z), bias_HMM
      )
      h = h + self.drop(attention.merge(y), deterministic=deterministic)
      attention = self.cross_attention[i]
      y = attend_context(
        attention.queries(self.decoder_norms[3 * i + 1](h)),
        *attention.keys_values(memory_BLD),
        sees_BSL,
      )
      h = h + self.drop(attention.merge(y), deterministic=deterministic)
      z = self.decoder_norms[3 * i + 2](h)
      y, routed = feed(ffn, z, real_BSM, deterministic)
      if routed is not None:
        found.append(below(f"decoder_ffn_{i}", routed))
      h = h + self.drop(y, deterministic=deterministic)
    h = self.drop(self.decoder_norms[-1](h), deterministic=deterministic)
    return h, found

  def init_cache(self, batch: Dim, length: int) -> Cache:
    """See layers/cache.py, as of the two methods that follow."""
    widths = (self.head_width, self.head_width)
    return Cache.empty(
      batch, length, self.num_decoder_layers, self.num_heads, widths, self.dtype
    )

  def start(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, length: int
  ) -> tuple[Float[Array, "B L D"], Cache]:
    """What `encode` gives, and the cache before any token is written.

    Its shared keys and values are those of cross-attention.
    """
    memory_BLD = self.encode(x_BLD, info, True)
    shared = [a.keys_values(memory_BLD) for a in self.cross_attention]
    cache = self.init_cache(x_BLD.shape[0], length).behind(shared, info)
    return memory_BLD, cache

  def step(
    self,
    y_BKD: Float[Array, "B K D"],
    cache: Cache,
    info: SequenceInfo,
    parents_BK: Int[Array, "B K"] | None = None,
  ) -> tuple[Float[Array, "B K D"], Cache]:
    """Hidden states of one more token of each beam, and the cache with it.

    Positions of `info` count the tokens that are written.

    Raises:
      ValueError: a cache that nothing was read into.
    """
    cache = cache.behind_context().follow(parents_BK, y_BKD.shape[1])
    keys = cache.seen(info)
    real_BK = jnp.broadcast_to(info.valid_BL, y_BKD.shape[:2])
    h, new = y_BKD, []
    for i, ffn in enumerate(self.decoder_ffn):
      memory, own = cache.layer(i)
      z = self.decoder_norms[3 * i](h)
      attention = self.decoder_attention[i]
      new.append(attention.keys_values(z))
      y = softmax_beam_attention(
        attention.queries(z), None, own, new[i], keys, bias=self.decoder_bias
      )
      h = h + attention.merge(y)
      attention = self.cross_attention[i]
      y = softmax_beam_attention(
        attention.queries(self.decoder_norms[3 * i + 1](h)),
        memory,
        None,
        None,
        keys,
      )
      h = h + attention.merge(y)
      z = self.decoder_norms[3 * i + 2](h)
      h = h + feed(ffn, z, real_BK, True)[0]
    return cache.then(self.decoder_norms[-1](h), new, info)
