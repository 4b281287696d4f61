# SPDX-License-Identifier: Apache-2.0
"""HSTU, the published research model (arXiv 2402.17152, section 3).

One layer, with x of shape (B, L, D), H heads, key width K, value width A:

    u, v, q, k = split(SiLU(LN(x) W_uvqk))
    y          = SiLU(q k^T + rab) / n  (causal)  @ v
    x'         = x + W_o dropout(u * LN(y)) + b_o

Layer norms have no affine part; the second one spans all H * A features. rab
is one learned scalar per signed distance plus one per bucket of the time
between the asked-for event and the key, shared by heads, per layer. There is
no 1/sqrt(K), no feed-forward part and no final norm. Softmax attention and
either bias are switches, for ablations; ALiBi's fixed slopes, which differ by
head, come beside them or instead of them (Press et al., ICLR 2022), and so may
queries and keys that turn with time (layers/rotary_time.py).

With a cache (layers/cache.py), what follows a history is computed without it.
"""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.backbones.stack import LayerStack
from genrec_jax.core import seams
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import (
  SiluAttention,
  SoftmaxAttention,
  split_uvqk,
)
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.rotary_time import BothTurns, RotaryTime, turned
from genrec_jax.ops.beam_attention import BeamKeys, KeysValues
from genrec_jax.ops.norm import layer_norm
from genrec_jax.ops.relative_bias import BiasTables, alibi_slopes
from genrec_jax.ops.time_buckets import BUCKET_WIDTH, NUM_BUCKETS


def _torch_bias_init(fan_in: int) -> nn.initializers.Initializer:
  """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): the reference's default for biases."""
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return nn.initializers.uniform(2 * bound)(key, shape, dtype) - bound

  return init


class RelativeBias(nn.Module):
  """Holds w_position (2n - 1) and w_time (buckets) of one layer."""

  num_positions: int
  position: bool
  time: bool
  num_buckets: int
  bucket_width: float
  slopes: tuple[float, ...] | None = None

  @nn.compact
  def __call__(self) -> BiasTables:
    """The tables; a part that is off is None."""
    init = nn.initializers.normal(0.02)
    shapes = {
      "position": (self.position, 2 * self.num_positions - 1),
      "time": (self.time, self.num_buckets),
    }
    tables = {
      name: self.param(name, init, (size,), jnp.float32) if used else None
      for name, (used, size) in shapes.items()
    }
    return BiasTables(
      **tables, slopes=self.slopes, bucket_width=self.bucket_width
    )


class HSTULayer(nn.Module):
  """One layer; fields as in HSTU."""

  num_heads: int
  key_width: int
  value_width: int
  num_positions: int
  attention: SiluAttention | SoftmaxAttention
  position_bias: bool
  time_bias: bool
  alibi: bool
  num_buckets: int
  bucket_width: float
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
    """x -> x + output(u * LN(attention(q, k, v))), and k and v.

    Args:
      x_BLD: rows, or one new token per beam.
      info: of rows; or what the new tokens see.
      deterministic: no dropout.
      before: shared and own keys and values, behind which new tokens come.
      turns: by which queries and keys turn with time; None = not at all.
    """
    uvqk = nn.silu(
      nn.Dense(
        2 * self.num_heads * (self.key_width + self.value_width),
        use_bias=False,
        dtype=self.dtype,
        kernel_init=nn.initializers.normal(0.02),
        name="uvqk",
      )(layer_norm(x_BLD))
    )
    u_BLE, v, q, k = split_uvqk(
      uvqk, self.num_heads, self.key_width, self.value_width
    )
    q, k = turned(q, k, turns)
    bias = RelativeBias(
      self.num_positions,
      self.position_bias,
      self.time_bias,
      self.num_buckets,
      self.bucket_width,
      alibi_slopes(self.num_heads) if self.alibi else None,
      name="relative_bias",
    )()
    if before is None:
      y_BLHA = self.attention(q, k, v, info, bias)
    else:
      y_BLHA = self.attention.behind(q, *before, (k, v), info, bias)
    # Every pair in memory: only for a call that asks for intermediates.
    shows = before is None and self.is_mutable_collection("intermediates")
    if shows and seams.offers(self.attention, seams.ShowsWeights):
      weights_BHLL = self.attention.weights(q, k, info, bias)
      self.sow("intermediates", "attention_weights", weights_BHLL)
    gated = u_BLE * layer_norm(y_BLHA.reshape(u_BLE.shape))
    gated = Dropout(self.dropout, deterministic=deterministic)(gated)
    x_BLD = x_BLD + nn.Dense(
      x_BLD.shape[-1],
      dtype=self.dtype,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=_torch_bias_init(gated.shape[-1]),
      name="output",
    )(gated)
    return x_BLD, (k, v)


class HSTU(LayerStack):
  """A stack of HSTU layers.

  Attributes:
    num_layers: layers.
    num_heads: H.
    key_width: K, width of q and k per head.
    value_width: A, width of u and v per head.
    num_positions: n; distances up to n - 1 have their own bias.
    attention: how scores become weights (layers/attention.py).
    position_bias: learn a bias per distance.
    time_bias: learn a bias per time bucket.
    alibi: subtract slope_h |distance|, fixed and one slope per head.
    rotary: turns queries and keys with time; None = not.
    num_buckets: time buckets; the last one is open.
    bucket_width: of a time bucket, in natural-log units.
    dropout: on u * LN(y), before the output projection.
    dtype: of the matrix products; parameters are float32.
    scan: one scanned layer instead of unrolled ones (backbones/stack.py says
      what its parameters are called).
    remat: compute layers again in the backward pass, for long histories.
  """

  num_layers: int
  num_heads: int
  key_width: int
  value_width: int
  num_positions: int
  attention: SiluAttention | SoftmaxAttention
  position_bias: bool = True
  time_bias: bool = True
  alibi: bool = False
  rotary: RotaryTime | None = None
  num_buckets: int = NUM_BUCKETS
  bucket_width: float = BUCKET_WIDTH
  dropout: float = 0.0
  dtype: str = "float32"
  scan: bool = False
  remat: bool = False

  # Dimensions of the matrices, by which a mesh splits them.
  logical_axes = {
    "uvqk/kernel": ("width", "hidden"),
    "output/kernel": ("hidden", "width"),
  }

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.time_bias or self.rotary is not None

  @property
  def max_length(self) -> int:
    """Longest segment whose distances all have a bias."""
    return self.num_positions

  def common(self, info: SequenceInfo) -> dict[str, Any]:
    """The turns of rotary time, which are the same in every layer."""
    return {} if self.rotary is None else {"turns": self.rotary.turns(info)}

  def layer(self) -> Callable[..., HSTULayer]:
    """name -> layer."""
    return functools.partial(
      HSTULayer,
      num_heads=self.num_heads,
      key_width=self.key_width,
      value_width=self.value_width,
      num_positions=self.num_positions,
      attention=self.attention,
      position_bias=self.position_bias,
      time_bias=self.time_bias,
      alibi=self.alibi,
      num_buckets=self.num_buckets,
      bucket_width=self.bucket_width,
      dropout=self.dropout,
      dtype=self.dtype,
    )
