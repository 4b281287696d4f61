# SPDX-License-Identifier: Apache-2.0
"""Fully connected layers with a ReLU after each.

    x <- dropout(relu(W x + b))        for every width, (..., E) -> (..., E')

No linear layer follows: what comes after decides what the last one is.
"""

from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genrec_jax.layers.dropout import Dropout


class Mlp(nn.Module):
  """See the module docstring.

  Attributes:
    widths: of the layers; () returns the input.
    dropout: after each of them.
    dtype: of the products; parameters are float32.
    precision: of the products; None = the device's default.
  """

  widths: tuple[int, ...]
  dropout: float = 0.0
  dtype: str = "float32"
  precision: lax.Precision | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "*b E"], deterministic: bool = True
  ) -> Float[Array, "*b E2"]:
    """The last layer's activations."""
    for width in self.widths:
      dense = nn.Dense(width, dtype=self.dtype, precision=self.precision)
      x = nn.relu(dense(x))
      x = Dropout(self.dropout)(x, deterministic=deterministic)
    return x
