# SPDX-License-Identifier: Apache-2.0
"""A pre-norm causal Transformer with a cache, of parts that configs choose.

    x <- x (+) W_o attention(LN(x))        x <- x (+) FFN(LN(x))

(+) is the plain sum, or a x + b y with scalars learned per sublayer
(layers/residual.py). Queries and keys may turn with their places
(layers/rotary_positions.py); attention is a part, softmax or SiLU. There is no
final norm: what reads the hidden states norms them. This is the decoder of
arXiv 2602.12354. What it leaves open are options: layers, widths, and the
scalars at start.

Keys and values of a history are kept as in backbones/stack.py; they are kept
turned, so that what follows turns only its own.
"""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float
import numpy as np

from genrec_jax.backbones.stack import LayerStack
from genrec_jax.backbones.transformer import PointwiseFeedForward
from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention, SoftmaxAttention
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.residual import RescaleAndAdd
from genrec_jax.layers.rotary_positions import RotaryPositions
from genrec_jax.layers.rotary_time import BothTurns, turned
from genrec_jax.ops.beam_attention import BeamKeys, KeysValues


class PreNormDecoderLayer(nn.Module):
  """One layer; fields as in PreNormDecoder."""

  num_heads: int
  key_width: int
  value_width: int
  ffn_width: int
  attention: SiluAttention | SoftmaxAttention
  residual_scalars: tuple[float, float] | None
  activation: str
  init_std: float
  dropout: float
  dtype: str

  @nn.compact
  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo | BeamKeys,
    deterministic: bool,
    before: tuple[KeysValues | None, KeysValues | None] | None = None,
    turns: BothTurns | None = None,
  ) -> tuple[Float[Array, "B L D"], KeysValues]:
    """Both sublayers, and keys and values.

    Args:
      x_BLD: rows, or one new token per beam.
      info: of rows; or what the new tokens see.
      deterministic: no dropout.
      before: shared and own keys and values, behind which new tokens come.
      turns: by which queries and keys turn; None = not at all.
    """
    width = x_BLD.shape[-1]
    init = nn.initializers.normal(self.init_std)

    def heads(name, head_width):
      y = nn.Dense(
        self.num_heads * head_width,
        dtype=self.dtype,
        kernel_init=init,
        name=name,
      )(z_BLD)
      return y.reshape(*y.shape[:2], self.num_heads, head_width)

    z_BLD = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x_BLD)
    q, k = heads("query", self.key_width), heads("key", self.key_width)
    v = heads("value", self.value_width)
    q, k = turned(q, k, turns)
    if before is None:
      y_BLHA = self.attention(q, k, v, info)
    else:
      y_BLHA = self.attention.behind(q, *before, (k, v), info)
    y_BLD = nn.Dense(width, dtype=self.dtype, kernel_init=init, name="output")(
      y_BLHA.reshape(*x_BLD.shape[:2], -1)
    )
    y_BLD = Dropout(self.dropout, deterministic=deterministic)(y_BLD)
    x_BLD = self._add("attention_residual", x_BLD, y_BLD)
    z_BLD = nn.LayerNorm(dtype=self.dtype, name="ffn_norm")(x_BLD)
    # It drops of what it adds itself.
    ffn = PointwiseFeedForward(
      self.ffn_width,
      self.dropout,
      self.activation,
      init,
      self.dtype,
      name="ffn",
    )
    y_BLD = ffn(z_BLD, deterministic)
    return self._add("ffn_residual", x_BLD, y_BLD), (k, v)

  def _add(self, name, x_BLD, y_BLD):
    if self.residual_scalars is None:
      return x_BLD + y_BLD
    return RescaleAndAdd(*self.residual_scalars, name=name)(x_BLD, y_BLD)


class PreNormDecoder(LayerStack):
  """See the module docstring.

  Attributes:
    num_layers: layers.
    num_heads: H.
    key_width: K, width of q and k per head.
    value_width: A, width of v per head.
    ffn_width: hidden width of the feed-forward part.
    attention: how scores become weights (layers/attention.py).
    rotary: turns queries and keys with their places; None = not.
    residual_scalars: a and b at start, learned; None = plain sums.
    activation: name of a flax.linen activation.
    init_std: standard deviation of all kernels.
    dropout: in the feed-forward part and on what each part adds.
    dtype: of the matrix products; parameters are float32.
    scan: one scanned layer instead of unrolled ones (backbones/stack.py).
    remat: compute layers again in the backward pass, for long histories.
  """

  num_layers: int
  num_heads: int
  key_width: int
  value_width: int
  ffn_width: int
  attention: SiluAttention | SoftmaxAttention
  rotary: RotaryPositions | None = None
  residual_scalars: tuple[float, float] | None = None
  activation: str = "gelu"
  init_std: float = 0.02
  dropout: float = 0.0
  dtype: str = "float32"
  scan: bool = False
  remat: bool = False

  uses_time = False
  max_length = NO_LIMIT
  # Dimensions of the matrices, by which a mesh splits them.
  logical_axes = {
    "query/kernel": ("width", "hidden"),
    "key/kernel": ("width", "hidden"),
    "value/kernel": ("width", "hidden"),
    "output/kernel": ("hidden", "width"),
    "ffn/in/kernel": ("width", "hidden"),
    "ffn/out/kernel": ("hidden", "width"),
  }

  def __post_init__(self):
    super().__post_init__()
    scalars = self.residual_scalars
    if scalars is not None and (
      len(scalars) != 2 or not np.isfinite(scalars).all()
    ):
      raise ValueError(
        f"config.system.backbone.residual_scalars={scalars} must be two"
        " numbers, what is kept and what is added, or None."
      )

  def common(self, info: SequenceInfo) -> dict[str, Any]:
    """The turns of rotary places, which are the same in every layer."""
    if self.rotary is None:
      return {}
    return {"turns": self.rotary.turns(info, self.key_width)}

  def layer(self) -> Callable[..., PreNormDecoderLayer]:
    """name -> layer."""
    return functools.partial(
      PreNormDecoderLayer,
      num_heads=self.num_heads,
      key_width=self.key_width,
      value_width=self.value_width,
      ffn_width=self.ffn_width,
      attention=self.attention,
      residual_scalars=self.residual_scalars,
      activation=self.activation,
      init_std=self.init_std,
      dropout=self.dropout,
      dtype=self.dtype,
    )
