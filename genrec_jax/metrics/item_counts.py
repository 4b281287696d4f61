# SPDX-License-Identifier: Apache-2.0
"""How often, and by how many users, each item was taken in the TRAINING part.

    counts = ItemCounts.empty(V)
    for histories in batches_of_users:           # training events alone
      counts = counts.merge(ItemCounts.from_batch(histories, V))

Events and users are two counts: a user who takes an item twice is one user and
two events. Popularity is counted in events, novelty in users, as in RecTools.
Nothing of a test part may be counted, or a metric would know its targets.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Int
import numpy as np

HEAD_PERCENT = 80


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCounts:
  """Counts by item index; row 0 (padding) is 0.

  Attributes:
    events_V1: training events of each item.
    users_V1: users with at least one training event of the item.
    num_users: users with at least one training event.
  """

  events_V1: Int[np.ndarray, "V1"]
  users_V1: Int[np.ndarray, "V1"]
  num_users: int

  def __post_init__(self):
    if self.events_V1.shape != self.users_V1.shape or len(self.events_V1) < 2:
      raise ValueError(
        f"events {self.events_V1.shape} and users {self.users_V1.shape} must"
        " both have one row for padding and one for each item"
      )
    if self.events_V1[0] or self.users_V1[0]:
      raise ValueError("row 0 is padding and has no events: set it to 0")

  @classmethod
  def empty(cls, num_items: int) -> ItemCounts:
    zeros = np.zeros(num_items + 1, np.int64)
    return cls(zeros, zeros, 0)

  @classmethod
  def from_batch(
    cls, histories: Sequence[Int[np.ndarray, "_"]], num_items: int
  ) -> ItemCounts:
    """Counts the training events of users, one entry of `histories` each.

    Raises:
      ValueError: an event of no item 1..num_items.
    """
    lengths = [len(items) for items in histories]
    if not sum(lengths):
      return cls.empty(num_items)
    items = np.concatenate(histories).astype(np.int64)
    if items.min() < 1 or items.max() > num_items:
      raise ValueError(
        f"events of items {items.min()}..{items.max()}; items are"
        f" 1..{num_items}, and histories have no padding"
      )
    rows = np.repeat(np.arange(len(lengths)), lengths)
    pairs = np.unique(rows * (num_items + 1) + items)
    return cls(
      np.bincount(items, minlength=num_items + 1),
      np.bincount(pairs % (num_items + 1), minlength=num_items + 1),
      sum(length > 0 for length in lengths),
    )

  def merge(self, other: ItemCounts) -> ItemCounts:
    """The counts of both; they must be of different users."""
    if self.num_items != other.num_items:
      raise ValueError(
        f"cannot merge counts of {self.num_items} and {other.num_items} items:"
        " both must be of one catalogue"
      )
    return ItemCounts(
      self.events_V1 + other.events_V1,
      self.users_V1 + other.users_V1,
      self.num_users + other.num_users,
    )

  @property
  def num_items(self) -> int:
    """V, items without events included."""
    return len(self.events_V1) - 1

  def ranks(self) -> Int[np.ndarray, "V1"]:
    """Returns popularity ranks by events, 1 is most popular; 0 = no event.

    They are dense: equal counts share a rank and the next count has the next.
    """
    distinct, place = np.unique(self.events_V1, return_inverse=True)
    # The count 0 is always among the distinct ones: padding has it.
    return np.where(self.events_V1 > 0, len(distinct) - place, 0)

  def head(self, percent: int = HEAD_PERCENT) -> Bool[np.ndarray, "V1"]:
    """Returns True for the fewest items that hold `percent` of the events.

    Items are taken by descending count, equal ones by index, and the item that
    crosses the bound is in. All others are the tail, items without an event
    and padding too.
    """
    if not 0 < percent < 100:
      raise ValueError(f"percent={percent} must lie between 0 and 100")
    order = np.argsort(-self.events_V1, kind="stable")
    before = np.cumsum(self.events_V1[order]) - self.events_V1[order]
    head = np.zeros(len(order), bool)
    # Whole numbers: a share in floating point may miss its own bound.
    head[order] = 100 * before < percent * self.events_V1.sum()
    return head
