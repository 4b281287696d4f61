# SPDX-License-Identifier: Apache-2.0
"""Causal Transformers: SASRec as the HSTU authors train it, and pre-norm.

ResearchSASRec (the baseline of arXiv 2402.17152, not the code of Kang and
McAuley, ICDM 2018), per block:

    z  = LN(x)                        eps 1e-8, no affine
    z  = z + W_o softmax(z W_q (x W_k)^T / sqrt(K)) (x W_v) + b_o
    z  = LN(z)
    x' = z + W_2 relu(W_1 z + b_1) + b_2,   zero at padding

Keys and values come from the un-normalised x; both residuals add a normalised
input; there is no final norm.

PreNormTransformer is the modern form: x + Attention(LN(x)), x + FFN(LN(x)),
GELU, affine norms and a final norm. Its queries and keys may turn with time
(layers/rotary_time.py).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.rotary_time import BothTurns, RotaryTime, turned
from genrec_jax.ops.norm import layer_norm
from genrec_jax.ops.softmax_attention import softmax_attention

# Dimensions of the matrices, by which a mesh splits them.
_LOGICAL_AXES = {
  "query/kernel": ("width", "hidden"),
  "key/kernel": ("width", "hidden"),
  "value/kernel": ("width", "hidden"),
  "output/kernel": ("hidden", "width"),
  "in/kernel": ("width", "hidden"),
  "out/kernel": ("hidden", "width"),
}


class SelfAttention(nn.Module):
  """Multi-head softmax attention; queries may differ from keys and values."""

  num_heads: int
  dropout: float
  kernel_init: nn.initializers.Initializer
  dtype: str

  @nn.compact
  def __call__(
    self,
    query_BLD: Float[Array, "B L D"],
    key_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    deterministic: bool,
    turns: BothTurns | None = None,
  ) -> Float[Array, "B L D"]:
    """Causal attention of queries over keys of the same segment."""
    width = query_BLD.shape[-1]
    if width % self.num_heads:
      raise ValueError(
        f"width {width} is not a multiple of num_heads={self.num_heads}."
      )

    def project(x_BLD, name):
      y = nn.Dense(
        width, dtype=self.dtype, kernel_init=self.kernel_init, name=name
      )(x_BLD)
      return y.reshape(*y.shape[:2], self.num_heads, -1)

    q = project(query_BLD, "query")
    k, v = project(key_BLD, "key"), project(key_BLD, "value")
    q, k = turned(q, k, turns)
    drops = self.dropout > 0 and not deterministic
    y_BLHK = softmax_attention(
      q,
      k,
      v,
      info,
      scale=q.shape[-1] ** -0.5,
      dropout=self.dropout,
      dropout_key=self.make_rng("dropout") if drops else None,
    )
    return nn.Dense(
      width, dtype=self.dtype, kernel_init=self.kernel_init, name="output"
    )(y_BLHK.reshape(query_BLD.shape))


class PointwiseFeedForward(nn.Module):
  """W_2 dropout(activation(W_1 x)), dropout."""

  hidden_width: int
  dropout: float
  activation: str
  kernel_init: nn.initializers.Initializer
  dtype: str

  @nn.compact
  def __call__(
    self, x_BLD: Float[Array, "B L D"], deterministic: bool
  ) -> Float[Array, "B L D"]:
    """Position-wise, width kept."""
    drop = Dropout(self.dropout, deterministic=deterministic)
    dense = {"dtype": self.dtype, "kernel_init": self.kernel_init}
    h = nn.Dense(self.hidden_width, name="in", **dense)(x_BLD)
    h = drop(getattr(nn, self.activation)(h))
    return drop(nn.Dense(x_BLD.shape[-1], name="out", **dense)(h))


class ResearchSASRec(nn.Module):
  """SASRec of the HSTU authors; see the module docstring.

  Attributes:
    num_layers: blocks.
    num_heads: heads of width D / num_heads.
    ffn_width: hidden width of the feed-forward part (D as published).
    dropout: on attention weights and twice in the feed-forward part.
    dtype: of the matrix products; parameters are float32.
  """

  num_layers: int
  num_heads: int
  ffn_width: int
  dropout: float = 0.0
  dtype: str = "float32"

  uses_time = False
  max_length = NO_LIMIT
  logical_axes = _LOGICAL_AXES

  @nn.compact
  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    *,
    deterministic: bool,
  ) -> Float[Array, "B L D"]:
    """Embedded rows (B, L, D) -> hidden states (B, L, D)."""
    common = {
      "dropout": self.dropout,
      "kernel_init": nn.initializers.xavier_normal(),
      "dtype": self.dtype,
    }
    for i in range(self.num_layers):
      z_BLD = layer_norm(x_BLD, eps=1e-8)
      z_BLD = z_BLD + SelfAttention(
        self.num_heads, name=f"attention_{i}", **common
      )(z_BLD, x_BLD, info, deterministic)
      z_BLD = layer_norm(z_BLD, eps=1e-8)
      z_BLD = z_BLD + PointwiseFeedForward(
        self.ffn_width, activation="relu", name=f"ffn_{i}", **common
      )(z_BLD, deterministic)
      x_BLD = jnp.where(info.valid_BL[:, :, None], z_BLD, 0)
    return x_BLD


class PreNormTransformer(nn.Module):
  """A pre-norm causal Transformer with a final norm.

  Attributes:
    num_layers: blocks.
    num_heads: heads of width D / num_heads.
    ffn_width: hidden width of the feed-forward part, usually 4 D.
    dropout: on attention weights, in and after the feed-forward part.
    activation: name of a flax.linen activation.
    init_std: standard deviation of all kernels.
    rotary: turns queries and keys with time; None = not.
    dtype: of the matrix products; parameters are float32.
  """

  num_layers: int
  num_heads: int
  ffn_width: int
  dropout: float = 0.0
  activation: str = "gelu"
  init_std: float = 0.02
  rotary: RotaryTime | None = None
  dtype: str = "float32"

  max_length = NO_LIMIT
  logical_axes = _LOGICAL_AXES

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.rotary is not None

  @nn.compact
  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    *,
    deterministic: bool,
  ) -> Float[Array, "B L D"]:
    """Embedded rows (B, L, D) -> hidden states (B, L, D)."""
    common = {
      "dropout": self.dropout,
      "kernel_init": nn.initializers.normal(self.init_std),
      "dtype": self.dtype,
    }
    turns = None if self.rotary is None else self.rotary.turns(info)
    drop = Dropout(self.dropout, deterministic=deterministic)
    for i in range(self.num_layers):
      z_BLD = nn.LayerNorm(dtype=self.dtype, name=f"attention_norm_{i}")(x_BLD)
      x_BLD = x_BLD + drop(
        SelfAttention(self.num_heads, name=f"attention_{i}", **common)(
          z_BLD, z_BLD, info, deterministic, turns
        )
      )
      z_BLD = nn.LayerNorm(dtype=self.dtype, name=f"ffn_norm_{i}")(x_BLD)
      x_BLD = x_BLD + PointwiseFeedForward(
        self.ffn_width, activation=self.activation, name=f"ffn_{i}", **common
      )(z_BLD, deterministic)
    return nn.LayerNorm(dtype=self.dtype, name="final_norm")(x_BLD)
