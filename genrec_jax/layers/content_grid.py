# SPDX-License-Identifier: Apache-2.0
"""Items by a square of numbers, such as a small picture: convolutions.

    x  = relu(conv 3 x 3, every second place (x))      for every width
    v  = W mean over places (x) + b

A ContentEncoder (layers/item_content.py) of what is no text: content is the
square, row by row, as vectors. A square of zeros is an item without one.
"""

from collections.abc import Mapping
import math
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.types import ItemData


class ContentGrid(nn.Module):
  """See the module docstring.

  Attributes:
    content_width: W, a square number.
    width: D.
    channels: of the convolutions.
    dtype: of the products; parameters and vectors are float32.
  """

  content_width: int
  width: int
  channels: tuple[int, ...] = (8, 16)
  dtype: str = "float32"

  content_dtype = "float32"
  logical_axes = {"kernel": (None, None)}

  def __post_init__(self):
    super().__post_init__()
    if math.isqrt(self.content_width) ** 2 != self.content_width:
      raise ValueError(
        f"content_width={self.content_width} is no square of numbers: give a"
        " square number, such as 64."
      )

  def with_data(
    self, params: Mapping[str, Any], data: ItemData
  ) -> dict[str, Any]:
    """Starts as drawn."""
    del data
    return {**params}

  @nn.compact
  def __call__(
    self, content: Float[Array, "N W"], *, deterministic: bool
  ) -> Float[Array, "N D"]:
    """See ContentEncoder."""
    del deterministic
    side = math.isqrt(self.content_width)
    x = content.astype(self.dtype).reshape(-1, side, side, 1)
    for number, channels in enumerate(self.channels):
      conv = nn.Conv(
        channels, (3, 3), 2, dtype=self.dtype, name=f"conv_{number}"
      )
      x = nn.relu(conv(x))
    output = nn.Dense(self.width, dtype=self.dtype, name="output")
    return output(jnp.mean(x, axis=(1, 2))).astype(jnp.float32)
