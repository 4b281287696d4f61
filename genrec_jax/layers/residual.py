# SPDX-License-Identifier: Apache-2.0
"""A residual sum with two learned scalars.

    x <- a x + b f(x)

a = b = 1 is the plain sum. Scalars of their own per sublayer keep deep pre-norm
stacks stable (arXiv 2602.12354); with b small at first they are near ReZero,
with a held at 1 near LayerScale of one number. Weight decay spares them.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class RescaleAndAdd(nn.Module):
  """See the module docstring.

  Attributes:
    keep_start: a at start.
    add_start: b at start.
  """

  keep_start: float = 1.0
  add_start: float = 1.0

  @nn.compact
  def __call__(
    self, x_BLD: Float[Array, "B L D"], y_BLD: Float[Array, "B L D"]
  ) -> Float[Array, "B L D"]:
    """a x + b y, summed in float32 and in the dtype of x.

    Args:
      x_BLD: the stream.
      y_BLD: what a sublayer adds.
    """
    start = nn.initializers.constant
    a = self.param("keep", start(self.keep_start), (), jnp.float32)
    b = self.param("add", start(self.add_start), (), jnp.float32)
    sum_BLD = a * x_BLD.astype(jnp.float32) + b * y_BLD.astype(jnp.float32)
    return sum_BLD.astype(x_BLD.dtype)
