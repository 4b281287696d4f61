# SPDX-License-Identifier: Apache-2.0
"""The old part of a long history in groups: one place for several events.

    events   0 1 2 | 3 4 5 | 6 7 8 | 9 10 11       size 3, places 2, length 6
    places     2       5     6 7 8   9             9 events: [0-2] [3-5] 6 7 8
                                                   10: [0-2] [3-5] 6 7 8 9
                                                   11: [3-5] [6-8] 9 10

Groups are aligned at the first event of the history: group g is events g size
to (g + 1) size - 1, whatever comes later, and what is in it never changes. Only
the number of groups depends on how many events there are: as few as make the
history fit, and where even `places` of them do not, the oldest are dropped, a
group at a time. A history that fits has none.

Merging neighbours makes a window of L places read up to places x size events
and L - places single ones (LONGER, arXiv 2505.04421, section 3.3, which aligns
groups at the newest event instead).
"""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts

_WHERE = "config.pipeline.layout.groups"


def first_of_groups(count: int, length: int, size: int) -> int:
  """The first event of the longest window that begins with a group.

  Args:
    count: events of a history; the window ends with the last of them.
    length: of the window, at most.
    size: of a group; 1 = a window begins anywhere.
  """
  return -(-max(0, count - length) // size) * size


@dataclasses.dataclass(frozen=True)
class EventGroups:
  """See the module docstring.

  Attributes:
    size: events of a group.
    places: most groups of a history.
  """

  size: int
  places: int

  def __post_init__(self):
    check_counts(self, _WHERE, "size", least=2)
    check_counts(self, _WHERE, "places")

  def check(self, max_length: int) -> None:
    """Raises a ValueError where a window would have no single event."""
    if self.size + self.places > max_length:
      raise ValueError(
        f"{_WHERE}: {self.places} places of {self.size} events each leave no"
        f" single event for certain in max_length={max_length}: places and size"
        " may be as many together."
      )

  def cut(self, count: int, max_length: int) -> tuple[int, int]:
    """Events [first, end) are grouped, those from `end` on stand alone.

    Args:
      count: events of a history.
      max_length: places of a window.
    """
    if count <= max_length:
      return 0, 0
    groups = -(-(count - max_length) // (self.size - 1))
    if groups <= self.places:
      return 0, groups * self.size
    end = first_of_groups(count, max_length - self.places, self.size)
    return end - self.places * self.size, end

  def most(self, row_length: int, max_length: int) -> int:
    """Groups that a row of packed histories holds at most."""
    # A history with groups fills its window up to size - 1 places.
    return self.places * max(1, row_length // (max_length - self.size + 1))

  def gathered(
    self, blocks: Mapping[str, Int[np.ndarray, "B L G"]], most: int
  ) -> dict[str, np.ndarray]:
    """The groups of each row side by side, and which place has which.

    Args:
      blocks: "item", and what else is known of the members of the group at a
        place; zeros at a place of a single event.
      most: groups of a row at most, N.

    Returns:
      group_slot_BL, 1 to N, 0 = a single event; group_NAME_BNG of each block.
    """
    is_group_BL = blocks["item"][:, :, 0] > 0
    slot_BL = np.where(is_group_BL, np.cumsum(is_group_BL, axis=1), 0)
    row, place = np.nonzero(is_group_BL)
    found = {"group_slot_BL": slot_BL.astype(np.int32)}
    for name, block_BLG in blocks.items():
      members_BNG = np.zeros((len(slot_BL), most, self.size), np.int32)
      members_BNG[row, slot_BL[row, place] - 1] = block_BLG[row, place]
      found[f"group_{name}_BNG"] = members_BNG
    return found
