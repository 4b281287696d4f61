# SPDX-License-Identifier: Apache-2.0
"""How large a trie's arrays are: what a program that takes one is compiled for.

Two catalogues with tries of the same sizes share compiled programs. A trie
built with room to spare (`with_room`) can be rebuilt with new items, and none
is compiled again; one that is only described (`abstract` in decoding/trie.py)
can be compiled for without data.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class TrieSizes:
  """Sizes of a trie of M levels.

  Attributes:
    level_sizes: codes C of each level.
    rows: V + 1, of the mask by item id.
    items: that have a place.
    states: prefixes of depth 1 to M.
    branch: most children of a state, by depth 0 to M - 1.
    group: most items that share all codes.
    dense_levels: levels from the top that have a dense table.
  """

  level_sizes: tuple[int, ...]
  rows: int
  items: int
  states: tuple[int, ...]
  branch: tuple[int, ...]
  group: int
  dense_levels: int

  def with_room(self, share: float) -> "TrieSizes":
    """Sizes for a catalogue that may grow by this share, such as 0.2.

    Raises:
      ValueError: a negative share.
    """
    if share < 0:
      raise ValueError(f"share is {share}; room is 0 or more")

    def more(count):
      return math.ceil(count * (1 + share))

    return dataclasses.replace(
      self,
      rows=more(self.rows),
      items=more(self.items),
      states=tuple(more(count) for count in self.states),
      branch=tuple(
        min(more(count), size)
        for count, size in zip(self.branch, self.level_sizes, strict=True)
      ),
      # Groups of one stay: a search of duplicates would cost every request.
      group=more(self.group) if self.group > 1 else 1,
    )

  def check_holds(self, needed: "TrieSizes") -> None:
    """Raises ValueError where a trie needs more than these sizes."""
    problems = [
      f"{name} {wanted} where there is room for {room}"
      for name, wanted, room in (
        ("level_sizes", needed.level_sizes, self.level_sizes),
        ("rows", needed.rows, self.rows),
        ("items", needed.items, self.items),
        ("states", needed.states, self.states),
        ("branch", needed.branch, self.branch),
        ("group", needed.group, self.group),
      )
      if (
        wanted != room if name == "level_sizes" else not _at_most(wanted, room)
      )
    ]
    if problems:
      raise ValueError(
        f"the trie does not fit its sizes: {'; '.join(problems)}. Build it"
        " without sizes, or give more room; programs are then compiled anew."
      )


def _at_most(wanted, room) -> bool:
  if isinstance(wanted, int):
    return wanted <= room
  return all(w <= r for w, r in zip(wanted, room, strict=True))
