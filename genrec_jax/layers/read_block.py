# SPDX-License-Identifier: Apache-2.0
"""A Transformer block whose rows read keys that may be those of other rows.

    h = x + dropout(W_o look(RMSNorm(x) W_q))       look: attention over keys
    y = h + dropout(FFN(RMSNorm(h)))                and values of `keys_values`

Whoever calls it says what rows look at: themselves, a longer row that they are
a part of, or what was kept of another one (ops/chunked_softmax.py).
"""

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.transformer import FeedForward, Heads
from genrec_jax.ops.beam_attention import KeysValues

# Queries -> what they read of the keys.
Look = Callable[[Float[Array, "B Q H E"]], Float[Array, "B Q H E"]]


class ReadBlock(nn.Module):
  """See the module docstring.

  Attributes:
    width: D.
    num_heads: H.
    head_width: E; None = D / H.
    ffn_width: inner width of the feed-forward part; None = 4 D.
    dropout: in the feed-forward part and on what each part adds.
    dtype: of the matrix products; parameters are float32.
  """

  width: int
  num_heads: int
  head_width: int | None = None
  ffn_width: int | None = None
  dropout: float = 0.0
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    if self.head_width is None and self.width % self.num_heads:
      raise ValueError(
        f"a width of {self.width} is not a multiple of num_heads="
        f"{self.num_heads}: change one, or name head_width."
      )

  def setup(self):
    self.attention_norm = nn.RMSNorm(dtype=self.dtype)
    self.attention = Heads(
      self.width,
      self.num_heads,
      self.head_width or self.width // self.num_heads,
      self.dtype,
    )
    self.ffn_norm = nn.RMSNorm(dtype=self.dtype)
    ffn_width = self.ffn_width or 4 * self.width
    self.ffn = FeedForward(self.width, ffn_width, self.dropout, self.dtype)
    self.drop = Dropout(self.dropout)

  def keys_values(self, x_BMD: Float[Array, "B M D"]) -> KeysValues:
    """Keys and values of rows, to be looked at."""
    return self.attention.keys_values(self.attention_norm(x_BMD))

  def __call__(
    self, x_BQD: Float[Array, "B Q D"], look: Look, deterministic: bool
  ) -> Float[Array, "B Q D"]:
    """The rows with what they read."""
    y = look(self.attention.queries(self.attention_norm(x_BQD)))
    y = self.attention.merge(y.astype(self.dtype))
    h = x_BQD + self.drop(y, deterministic=deterministic)
    y = self.ffn(self.ffn_norm(h), deterministic)
    return h + self.drop(y, deterministic=deterministic)
