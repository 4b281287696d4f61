# SPDX-License-Identifier: Apache-2.0
"""FLOPs of a forward pass that predicts targets of a few tokens, by its sizes.

    lazy             context -> keys and values by one product, once;
                     layers of targets alone
    encoder-decoder  layers of the whole context; layers of targets, whose
                     cross-attention projects the context anew
    causal           layers of the context and of the target behind it

2 per multiply-add of the products, as hlo/cost.py counts a compiled program;
norms, softmax, embeddings and the heads of the vocabulary are left out. Masked
pairs are counted, as they are computed. Training is about three times as much.

Of T tokens of a layer of width D with H heads of E and a feed-forward part of
n matrices of inner width F:

    queries and output    4 T D H E       keys and values    4 T D G E
    attention over P keys 4 T P H E       feed-forward       2 n T D F
"""

import dataclasses

from genrec_jax.ops.attention_flops import attention_flops


@dataclasses.dataclass(frozen=True)
class LayerSizes:
  """Of every layer.

  Attributes:
    width: D.
    num_heads: H.
    head_width: E.
    ffn_width: F.
    ffn_matrices: n; 3 where the inner vector is gated.
  """

  width: int
  num_heads: int
  head_width: int
  ffn_width: int
  ffn_matrices: int = 2

  def queries(self, tokens: int) -> int:
    """Queries of T tokens, and the output of their attention."""
    return 4 * tokens * self.width * self.num_heads * self.head_width

  def keys(self, tokens: int, num_key_heads: int | None = None) -> int:
    """Keys and values of T tokens, of H heads or of fewer."""
    heads = self.num_heads if num_key_heads is None else num_key_heads
    return 4 * tokens * self.width * heads * self.head_width

  def pairs(self, count: int) -> int:
    """Scores of pairs of a query and a key, and sums of values."""
    return attention_flops(
      count, self.num_heads, self.head_width, self.head_width
    )

  def ffn(self, tokens: int) -> int:
    """The feed-forward part."""
    return 2 * self.ffn_matrices * tokens * self.width * self.ffn_width


@dataclasses.dataclass(frozen=True)
class ContextSizes:
  """Of what turns context into keys and values (layers/context_keys.py).

  Attributes:
    input_width: of a token of context.
    num_key_heads: G.
    num_sets: of keys and values.
    shared_values: values are the keys.
    hidden_width: of the part that comes first; 0 = none.
  """

  input_width: int
  num_key_heads: int = 1
  num_sets: int = 1
  shared_values: bool = True
  hidden_width: int = 0

  def flops(self, tokens: int, layer: LayerSizes) -> int:
    """Of N tokens."""
    flops, width = 0, self.input_width
    if self.hidden_width:
      flops += 2 * tokens * width * self.hidden_width
      width = layer.width
      flops += 2 * tokens * self.hidden_width * width
    kinds = self.num_sets * (1 if self.shared_values else 2)
    out = kinds * self.num_key_heads * layer.head_width
    return flops + 2 * tokens * width * out


def lazy_decoder_flops(
  layer: LayerSizes,
  sizes: ContextSizes,
  *,
  num_layers: int,
  context: int,
  targets: int,
  tokens: int,
  self_key_heads: int | None = None,
) -> int:
  """Of backbones.LazyDecoder, for one row.

  Args:
    layer: sizes of a layer.
    sizes: of the context's keys and values.
    num_layers: of the decoder.
    context: N, tokens that are read.
    targets: S of the row.
    tokens: M of a target.
    self_key_heads: of self-attention; None = as many as of queries.
  """
  written = targets * tokens
  one = 2 * layer.queries(written) + layer.keys(written, self_key_heads)
  one += layer.pairs(written * context) + layer.pairs(written * tokens)
  one += layer.ffn(written)
  return sizes.flops(context, layer) + num_layers * one


def encoder_decoder_flops(
  layer: LayerSizes,
  *,
  num_encoder_layers: int,
  num_decoder_layers: int,
  context: int,
  targets: int,
  tokens: int,
) -> int:
  """Of backbones.EncoderDecoder, for one row; see lazy_decoder_flops."""
  read = layer.queries(context) + layer.keys(context)
  read += layer.pairs(context**2) + layer.ffn(context)
  written = targets * tokens
  one = 2 * layer.queries(written) + layer.keys(written)
  one += layer.keys(context)
  one += layer.pairs(written * context) + layer.pairs(written * tokens)
  one += layer.ffn(written)
  return num_encoder_layers * read + num_decoder_layers * one


def causal_decoder_flops(
  layer: LayerSizes, *, num_layers: int, length: int
) -> int:
  """Of backbones.CausalTransformer, for one row of context and targets.

  Args:
    layer: sizes of a layer.
    num_layers: of them.
    length: tokens of the row.
  """
  one = layer.queries(length) + layer.keys(length)
  one += layer.pairs(length**2) + layer.ffn(length)
  return num_layers * one
