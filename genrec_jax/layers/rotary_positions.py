# SPDX-License-Identifier: Apache-2.0
"""Rotary places as a part that a backbone is given, so configs choose it.

The maths is in ops/rotary_positions.py; layers/rotary_time.py turns by time
instead. Angles are the same in all layers: a backbone has them made once.
"""

import dataclasses

from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.rotary_time import BothTurns
from genrec_jax.ops.rotary_positions import position_turns


@dataclasses.dataclass(frozen=True)
class RotaryPositions:
  """Queries and keys turn by their place in the segment.

  What was shown together shares a place where the layout says so, and
  candidates of a request always do.

  Attributes:
    base: ratio of the fastest pair's angle to the slowest's; above 1.
  """

  base: float = 10_000.0

  def __post_init__(self):
    if not 1 < self.base < float("inf"):
      raise ValueError(
        f"config.system.backbone.rotary.base={self.base} must be above 1."
      )

  def turns(self, info: SequenceInfo, width: int) -> BothTurns:
    """Angles of queries and of keys, which are alike.

    Args:
      info: of rows, or of new tokens.
      width: of a head's queries and keys.

    Raises:
      ValueError: a width that has no pairs.
    """
    if width % 2:
      raise ValueError(
        f"rotary places turn pairs of features: key_width={width} must be even."
      )
    turned = position_turns(info.positions_BL, width // 2, self.base)
    return turned, turned
