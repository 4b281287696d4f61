# SPDX-License-Identifier: Apache-2.0
"""Rotary time as a part that a backbone is given, so configs choose it.

The maths is in ops/rotary_time.py. Angles are the same in all layers: a
backbone has them made once, and each layer turns its queries and keys before
they are attended with, whatever attention does that.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Array, Float

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.rotary_time import (
  DAY,
  WEEK,
  YEAR,
  Turns,
  check_periods,
  geometric_periods,
  rotate,
  turns,
)

# Of queries and of keys.
BothTurns = tuple[Turns, Turns]


@dataclasses.dataclass(frozen=True)
class RotaryTime:
  """Which pairs of features turn with time; one pair of each head per period.

  Queries turn by the time that is asked about and keys by that of their event,
  as the time bias has it. A score of times that differ alike is the same in any
  year: the season itself is for calendar features to tell.

  Attributes:
    periods: exact ones, whole seconds. One that is there twice turns two pairs.
    geometric: number of further periods, in equal ratios.
    shortest: first of them, seconds.
    longest: last of them.
  """

  periods: Sequence[int] = (DAY, WEEK, YEAR)
  geometric: int = 0
  shortest: int = 60
  longest: int = 2 * YEAR

  def __post_init__(self):
    if self.geometric < 0 or not self.all_periods:
      raise ValueError(
        f"rotary time with periods={tuple(self.periods)} and"
        f" geometric={self.geometric} turns nothing: give a period."
      )

  @property
  def all_periods(self) -> tuple[int, ...]:
    """Of the pairs that turn, seconds.

    Raises:
      ValueError: one that cannot be.
    """
    exact = tuple(self.periods)
    check_periods(exact)
    if self.geometric <= 0:
      return exact
    ends = self.shortest, self.longest
    return exact + geometric_periods(*ends, self.geometric)

  def turns(self, info: SequenceInfo) -> BothTurns:
    """Angles of queries and of keys."""
    return (
      turns(info.query_times_BL, self.all_periods),
      turns(info.key_times_BL, self.all_periods),
    )


def turned(
  q: Float[Array, "B L H K"],
  k: Float[Array, "B L H K"],
  both: BothTurns | None,
) -> tuple[Array, Array]:
  """Queries and keys, turned; as they are without angles."""
  if both is None:
    return q, k
  return rotate(q, both[0]), rotate(k, both[1])
