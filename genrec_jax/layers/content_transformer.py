# SPDX-License-Identifier: Apache-2.0
"""Items by the words of their texts: a small Transformer that is trained.

    x_t = RMSNorm(words[token_t])
    x   = x + Attention(RMSNorm(x)),  x = x + FFN(RMSNorm(x))
    v   = RMSNorm(x) of the first token, or its mean over all tokens

T5's parts (layers/transformer.py): tokens see all others of their text, and
where these stand by relative buckets. Word vectors start from a table that
comes with the tokens (content/text_tokens.py). Token 0 is padding; an item
without a token has the vector 0.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.roles import CONTEXT
from genrec_jax.core.types import ItemData, SequenceInfo
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.transformer import (
  LOGICAL_AXES,
  FeedForward,
  Heads,
  RelativeBuckets,
)
from genrec_jax.ops.softmax_attention import softmax_attention

_POOLINGS = ("first", "mean")


class ContentTransformer(nn.Module):
  """See the module docstring; a ContentEncoder (layers/item_content.py).

  Attributes:
    content_width: T, tokens of an item.
    width: D.
    num_words: W, rows of the table of words.
    word_width: of the table, whose words are then projected to D; None = D, as
      they are.
    num_layers: blocks.
    num_heads: H.
    head_width: E.
    ffn_width: hidden width of the feed-forward part.
    pooling: "first" or "mean".
    dropout: in the feed-forward part and on what each part adds.
    num_buckets: of relative positions.
    max_distance: farther tokens share a bucket.
    dtype: of the products; parameters and vectors are float32.
  """

  content_width: int
  width: int
  num_words: int
  word_width: int | None = None
  num_layers: int = 1
  num_heads: int = 4
  head_width: int = 32
  ffn_width: int = 512
  pooling: str = "first"
  dropout: float = 0.0
  num_buckets: int = 32
  max_distance: int = 128
  dtype: str = "float32"

  content_dtype = "int32"
  logical_axes = {
    **LOGICAL_AXES,
    "words/embedding": (None, "width"),
    "words_in/kernel": (None, "width"),
  }

  def __post_init__(self):
    super().__post_init__()
    if self.pooling not in _POOLINGS:
      raise ValueError(
        f"item_encoder.pooling={self.pooling!r} must be 'first' or 'mean'."
      )

  def setup(self):
    layers = range(self.num_layers)
    self.words = nn.Embed(self.num_words, self.word_width or self.width)
    self.words_in = nn.Dense(self.width, use_bias=False, dtype=self.dtype)
    self.attention = [
      Heads(self.width, self.num_heads, self.head_width, self.dtype)
      for _ in layers
    ]
    self.ffn = [
      FeedForward(self.width, self.ffn_width, self.dropout, self.dtype)
      for _ in layers
    ]
    self.norms = [
      nn.RMSNorm(dtype=self.dtype) for _ in range(2 * self.num_layers + 2)
    ]
    self.bias = RelativeBuckets(
      self.num_heads, self.num_buckets, self.max_distance, both_sides=True
    )
    self.drop = Dropout(self.dropout)

  def with_data(
    self, params: Mapping[str, Any], data: ItemData
  ) -> dict[str, Any]:
    """Parameters whose words start as the data say.

    Raises:
      ValueError: data without words, or of another number or width.
    """
    wanted = (self.num_words, self.word_width or self.width)
    if data.words is None or data.words.shape != wanted:
      there = "none" if data.words is None else f"{data.words.shape}"
      raise ValueError(
        f"item_encoder reads words of shape {wanted}, and the items' tokens"
        f" come with {there}: set its num_words and word_width, or make"
        " config.text_tokens anew."
      )
    return {**params, "words": {"embedding": data.words}}

  def __call__(
    self, content: Int[Array, "N T"], *, deterministic: bool
  ) -> Float[Array, "N D"]:
    """See ContentEncoder."""
    there_NT = content > 0
    index_T = jnp.arange(content.shape[1], dtype=jnp.int32)
    none_NT = jnp.zeros_like(content)
    info = SequenceInfo(
      there_NT.astype(jnp.int32),
      jnp.where(there_NT, index_T[None], 0),
      none_NT,
      none_NT,
      # In a context prefix every token sees all others.
      jnp.full_like(content, CONTEXT),
    )
    bias_HTT = self.bias.of_row(content.shape[1])
    h_NTD = self.norms[0](self.words(content))
    if self.word_width is not None:
      h_NTD = self.words_in(h_NTD)
    for i, (attention, ffn) in enumerate(
      zip(self.attention, self.ffn, strict=True)
    ):
      z_NTD = self.norms[2 * i + 1](h_NTD)
      y_NTHE = softmax_attention(
        attention.queries(z_NTD),
        *attention.keys_values(z_NTD),
        info,
        added_HLL=bias_HTT,
      )
      y_NTD = self.drop(attention.merge(y_NTHE), deterministic=deterministic)
      h_NTD = h_NTD + y_NTD
      y_NTD = ffn(self.norms[2 * i + 2](h_NTD), deterministic)
      h_NTD = h_NTD + self.drop(y_NTD, deterministic=deterministic)
    h_NTD = self.norms[-1](h_NTD).astype(jnp.float32)
    h_NTD = jnp.where(there_NT[:, :, None], h_NTD, 0)
    if self.pooling == "first":
      return h_NTD[:, 0]
    count_N1 = jnp.sum(there_NT, axis=1, keepdims=True)
    return jnp.sum(h_NTD, axis=1) / jnp.maximum(count_N1, 1)
