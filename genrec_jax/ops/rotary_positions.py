# SPDX-License-Identifier: Apache-2.0
"""Rotary encoding of places: scores that know how far apart two tokens are.

Pair f of a head's K features turns by p base^(-2 f / K) at place p (Su et al.,
RoFormer, 2021), so that a turned query and a turned key have the score of
p_i - p_j alone. How pairs are turned is in ops/rotary_time.py.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from genrec_jax.ops.rotary_time import Turns


def position_turns(
  positions_BL: Int[Array, "B L"], num_pairs: int, base: float
) -> Turns:
  """Angles of F pairs at places, float32.

  Args:
    positions_BL: places in a segment.
    num_pairs: F, half of a head's width: all of its features turn.
    base: pair f turns by base^(-f / F) a place.
  """
  step_F = base ** (-np.arange(num_pairs) / num_pairs)
  angle_BLF = (
    positions_BL.astype(jnp.float32)[:, :, None]
    * step_F.astype(np.float32)[None, None, :]
  )
  return Turns(cos_BLF=jnp.cos(angle_BLF), sin_BLF=jnp.sin(angle_BLF))
