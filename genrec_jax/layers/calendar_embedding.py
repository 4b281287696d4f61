# SPDX-License-Identifier: Apache-2.0
"""A vector of the calendar at the time of a request.

    W [sin a; cos a],   a = 2 pi (of the day, of the week, month, of the year)

Differences of times cannot say that it is December; this can. Every position
has the time that it asks about: in training that of the event it predicts, in
serving that of the request.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

# Of data/local_time.py's CALENDAR: seconds of a day, days of a week, months,
# days of a mean year.
_CYCLES = (86_400.0, 7.0, 12.0, 365.2425)


def calendar_angles(
  calendar_BLC: Int[Array, "B L 4"],
) -> Float[Array, "B L 4"]:
  """2 pi of each number's place in its cycle, float32."""
  step_C = (2 * np.pi / np.array(_CYCLES)).astype(np.float32)
  return calendar_BLC.astype(jnp.float32) * step_C[None, None, :]


class CalendarEmbedding(nn.Module):
  """See the module docstring.

  Attributes:
    width: D.
    init_std: of the matrix.
  """

  width: int
  init_std: float = 0.02

  @nn.compact
  def __call__(
    self, calendar_BLC: Int[Array, "B L 4"]
  ) -> Float[Array, "B L D"]:
    """Vectors of CALENDAR numbers, in float32."""
    angle_BLC = calendar_angles(calendar_BLC)
    waves = jnp.concatenate([jnp.sin(angle_BLC), jnp.cos(angle_BLC)], axis=-1)
    return nn.Dense(
      self.width,
      use_bias=False,
      kernel_init=nn.initializers.normal(self.init_std),
      name="waves",
    )(waves)
