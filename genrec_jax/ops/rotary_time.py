# SPDX-License-Identifier: Apache-2.0
"""Rotary encoding of event times: scores that know how far apart two times are.

Pair f of a head's features turns by 2 pi t / P_f (Su et al., RoFormer, 2021,
with seconds in place of positions):

    (x_f, x_{f + K/2})  ->  (x_f cos a - x_{f + K/2} sin a,
                             x_{f + K/2} cos a + x_f sin a)

so that a query turned by t_i and a key turned by t_j have the score of a
difference alone: it changes with (t_i - t_j) mod P_f, and two times a whole
period apart are one time. Pairs beyond the last period stay as they are.

Every period is a whole number of seconds. Then t mod P is exact in int32,
whatever the epoch and however far from it, and only the remainder, at most half
a period, meets a float. Float32 of unix seconds would be 128 s off.
"""

import dataclasses
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.core.types import UNKNOWN_TIME

DAY = 86_400
WEEK = 7 * DAY
# The mean Gregorian one.
YEAR = 31_556_952
_INT32_MAX = 2**31 - 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Turns:
  """Angles of F pairs at some times, float32; no gradient flows to them.

  Attributes:
    cos_BLF: cosines; 0 at a time that is not known.
    sin_BLF: sines; likewise.
  """

  cos_BLF: Any
  sin_BLF: Any


def check_periods(periods: tuple[int, ...]) -> None:
  """Raises a ValueError for a period that is no whole number of 2 s or more."""
  for period in periods:
    try:
      seconds = operator.index(period)
    except TypeError:
      seconds = 0
    if not 2 <= seconds <= _INT32_MAX:
      raise ValueError(
        f"a period of {period!r} s: periods are whole seconds from 2 to"
        f" {_INT32_MAX} (68 years), such as {DAY} for a day."
      )


def geometric_periods(
  shortest: int, longest: int, count: int
) -> tuple[int, ...]:
  """`count` periods from the shortest to the longest, in equal ratios.

  They are rounded to whole seconds, which is what makes their phases exact.

  Raises:
    ValueError: what is no period, the longest below the shortest, or less than
      one period; of one, the two must be equal.
  """
  check_periods((shortest, longest))
  if count < 1 or longest < shortest or (count == 1) != (longest == shortest):
    raise ValueError(
      f"{count} periods from {shortest} to {longest} s: expected two or more"
      " that grow, or a single one."
    )
  logs = np.linspace(math.log(shortest), math.log(longest), count)
  return tuple(int(x) for x in np.rint(np.exp(logs)))


def turns(times_BL: Int[Array, "B L"], periods: tuple[int, ...]) -> Turns:
  """The angles at times; those of an unknown time take pairs out of a score.

  Args:
    times_BL: int32 seconds from any epoch, before or after it; UNKNOWN_TIME
      where not known.
    periods: P_f, whole seconds.
  """
  check_periods(periods)
  periods_F = np.array(periods, np.int32)
  rest_BLF = jnp.mod(times_BL[:, :, None], periods_F[None, None, :])
  # From -P/2 to P/2: what is rounded is smaller.
  over_BLF = rest_BLF > periods_F[None, None, :] // 2
  rest_BLF = jnp.where(over_BLF, rest_BLF - periods_F[None, None, :], rest_BLF)
  step_F = (2 * np.pi / np.array(periods, np.float64)).astype(np.float32)
  angle_BLF = rest_BLF.astype(jnp.float32) * step_F[None, None, :]
  known_BL1 = (times_BL != UNKNOWN_TIME)[:, :, None]
  return Turns(
    cos_BLF=jnp.where(known_BL1, jnp.cos(angle_BLF), 0.0),
    sin_BLF=jnp.where(known_BL1, jnp.sin(angle_BLF), 0.0),
  )


def rotate(x_BLHK: Float[Array, "B L H K"], turned: Turns) -> Array:
  """Queries or keys, turned; in float32, rounded to the dtype of x.

  Args:
    x_BLHK: all heads turn alike.
    turned: of B rows and L times, or of one time for all L.

  Raises:
    ValueError: more pairs than a head has.
  """
  width, num_pairs = x_BLHK.shape[-1], turned.cos_BLF.shape[-1]
  half = width // 2
  if width % 2 or num_pairs > half:
    raise ValueError(
      f"rotary time turns {num_pairs} pairs of features (one per period), and a"
      f" head's queries and keys have {width}: give fewer periods, or an even"
      f" key_width of at least {2 * num_pairs}."
    )
  still = ((0, 0), (0, 0), (0, half - num_pairs))
  cos = jnp.pad(turned.cos_BLF, still, constant_values=1.0)[:, :, None, :]
  sin = jnp.pad(turned.sin_BLF, still)[:, :, None, :]
  first, second = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
  parts = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(parts, axis=-1).astype(x_BLHK.dtype)
