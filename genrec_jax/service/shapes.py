# SPDX-License-Identifier: Apache-2.0
"""The few sizes that a served model is compiled for.

XLA compiles a program for every shape. So whatever is asked is padded up to
one of few sizes, all of them are compiled before a model is ready, and nothing
is compiled after that.
"""

from collections.abc import Sequence
import dataclasses


@dataclasses.dataclass(frozen=True)
class Shapes:
  """Sizes, each tuple ascending.

  Attributes:
    batches: requests of a batch.
    lists: places of a list; the largest is the longest list that one gets.
    histories: events of the histories that are tried before a model is ready.
      Layouts make rows of few lengths of them; one past each length will do.
    micro_batch: candidates that a ranker scores at a time.
    most_candidates: that a request may have ranked.
  """

  batches: tuple[int, ...] = (1, 2, 4, 8, 16)
  lists: tuple[int, ...] = (16, 64, 256)
  histories: tuple[int, ...] = (1, 17, 65, 257, 1025)
  micro_batch: int = 256
  most_candidates: int = 1024

  def __post_init__(self):
    for name in ("batches", "lists", "histories"):
      sizes = getattr(self, name)
      if not sizes or sorted(set(sizes)) != [*sizes] or sizes[0] < 1:
        raise ValueError(
          f"{name}={sizes} must be positive whole numbers that ascend."
        )
    for name in ("micro_batch", "most_candidates"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")

  def bounded(self, most_places: int) -> "Shapes":
    """The same with no list longer than a model can give."""
    lists = {min(size, most_places) for size in self.lists}
    return dataclasses.replace(self, lists=tuple(sorted(lists)))


def at_least(sizes: Sequence[int], count: int) -> int:
  """The smallest of the sizes that holds so many.

  Raises:
    ValueError: none does.
  """
  for size in sizes:
    if size >= count:
      return size
  raise ValueError(f"{count} is more than the largest of {tuple(sizes)}.")
