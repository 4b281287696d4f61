# SPDX-License-Identifier: Apache-2.0
"""STU: HSTU's layer as the authors run it in production.

Per layer, on x (B, L, D), with H heads, widths K (q, k) and A (u, v):

    u, v, q, k = split(LN(x) W_1 + b_1)        LN affine; u = SiLU(u) alone
    y_i = sum_{j <= i} SiLU(q_i k_j / sqrt(K)) v_j / normalizer
    x  <- x + dropout(concat(u, y, u * LN(y))) W_2        LN affine, over H A

Same code base as arXiv 2402.17152's, modules/stu.py; the published tables are
of the research layer (backbones/hstu.py), which differs in all four: there
norms have no parameters, SiLU acts on q, k and v too, scores are not divided
by sqrt(K), and W_2 reads u * LN(y) alone. Neither is a setting of the other.
There is no relative bias here: places and times are added to the input.
"""

from collections.abc import Callable
import dataclasses
import functools

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.backbones.stack import LayerStack
from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention, split_uvqk
from genrec_jax.layers.dropout import Dropout
from genrec_jax.ops.beam_attention import BeamKeys, KeysValues

_NORM_EPS = 1e-6


class STULayer(nn.Module):
  """One layer; fields as in STU."""

  num_heads: int
  key_width: int
  value_width: int
  attention: SiluAttention
  dropout: float
  dtype: str

  @nn.compact
  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo | BeamKeys,
    deterministic: bool,
    before: tuple[KeysValues | None, KeysValues | None] | None = None,
  ) -> tuple[Float[Array, "B L D"], KeysValues]:
    """x -> x + output([u, y, u * LN(y)]), and keys and values.

    Args:
      x_BLD: rows, or one new token per beam.
      info: of rows; or what the new tokens see.
      deterministic: no dropout.
      before: shared and own keys and values, behind which new tokens come.
    """
    width = 2 * self.num_heads * (self.key_width + self.value_width)
    init = nn.initializers.xavier_uniform()
    uvqk = nn.Dense(width, dtype=self.dtype, kernel_init=init, name="uvqk")(
      self._norm("input_norm")(x_BLD)
    )
    u, v, q, k = split_uvqk(
      uvqk, self.num_heads, self.key_width, self.value_width
    )
    attention = dataclasses.replace(
      self.attention, scale=self.attention.scale * self.key_width**-0.5
    )
    if before is None:
      y_BLHA = attention(q, k, v, info)
    else:
      y_BLHA = attention.behind(q, *before, (k, v), info)
    u, y = nn.silu(u), y_BLHA.reshape(u.shape).astype(u.dtype)
    parts = jnp.concatenate([u, y, u * self._norm("norm")(y)], axis=-1)
    parts = Dropout(self.dropout, deterministic=deterministic)(parts)
    x_BLD = x_BLD + nn.Dense(
      x_BLD.shape[-1],
      use_bias=False,
      dtype=self.dtype,
      kernel_init=init,
      name="output",
    )(parts)
    return x_BLD, (k, v)

  def _norm(self, name: str) -> nn.LayerNorm:
    """Flax computes mean and variance in float32."""
    return nn.LayerNorm(_NORM_EPS, dtype=self.dtype, name=name)


class STU(LayerStack):
  """A stack of STU layers.

  Attributes:
    num_layers: layers.
    num_heads: H.
    key_width: K, width of q and k per head.
    value_width: A, width of u and v per head.
    attention: its scale multiplies the layer's 1/sqrt(K).
    dropout: before the output projection.
    dtype: of the matrix products; parameters are float32.
    scan: one scanned layer instead of unrolled ones (backbones/stack.py).
    remat: compute layers again in the backward pass (likewise).
  """

  num_layers: int
  num_heads: int
  key_width: int
  value_width: int
  attention: SiluAttention
  dropout: float = 0.0
  dtype: str = "float32"
  scan: bool = False
  remat: bool = False

  # Dimensions of the matrices, by which a mesh splits them.
  logical_axes = {
    "uvqk/kernel": ("width", "hidden"),
    "output/kernel": ("hidden", "width"),
  }
  uses_time = False
  max_length = NO_LIMIT

  def layer(self) -> Callable[..., STULayer]:
    """name -> layer."""
    return functools.partial(
      STULayer,
      num_heads=self.num_heads,
      key_width=self.key_width,
      value_width=self.value_width,
      attention=self.attention,
      dropout=self.dropout,
      dtype=self.dtype,
    )
