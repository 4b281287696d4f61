# SPDX-License-Identifier: Apache-2.0
"""What a service keeps: events, items, and whom it has forgotten.

    store.append([Event("e-1", "u7", "i3", "click", 1_700_000_000_000_000)])
    store.history("u7").events        oldest first, by (time, event_id)

`EventStore` is the seam: sqlite_store.py is the store of the house, and whoever
keeps histories elsewhere gives the service an object of their own. What it has
said to be accepted it must not lose, in whatever order events arrive it must
end with the same history, and its methods are called from several threads.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Protocol, runtime_checkable

# What becomes of an event that is sent.
ACCEPTED, DUPLICATE, CONFLICT, TOO_OLD = (
  "accepted",  # It is kept, and part of the next answer.
  "duplicate",  # It is there, or was before its user was deleted.
  "conflict",  # Another one has its id, and stays.
  "too_old",  # The user has as many later ones as are kept.
)
OUTCOMES = (ACCEPTED, DUPLICATE, CONFLICT, TOO_OLD)


class NotStored(OSError):
  """The store takes no writes: its disk is full, or it cannot be written."""


@dataclasses.dataclass(frozen=True)
class Event:
  """What a user did.

  Attributes:
    event_id: says which event it is, however often it is sent.
    user: id.
    item: id; the model in use need not know it.
    action: such as "click|like"; "" where nothing is said.
    microseconds: since 1970.
    value: such as a rating, or None.
  """

  event_id: str
  user: str
  item: str
  action: str
  microseconds: int
  value: float | None = None


@dataclasses.dataclass(frozen=True)
class Told:
  """What a store knows of a user.

  Attributes:
    events: oldest first, by (microseconds, event_id).
    forgotten: the user was deleted: what was trained on counts no more.
  """

  events: tuple[Event, ...] = ()
  forgotten: bool = False


@dataclasses.dataclass(frozen=True)
class ItemState:
  """What has changed of an item since training.

  Attributes:
    dead: it must not be recommended.
    attributes: name -> value, in place of those of the item table.
  """

  dead: bool = False
  attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@runtime_checkable
class EventStore(Protocol):
  """Keeps events, and gives the history of a user."""

  def append(self, events: Sequence[Event]) -> list[str]:
    """Keeps all of them or none; says of each one of OUTCOMES.

    Raises:
      NotStored: nothing is kept.
    """

  def history(self, user: str) -> Told:
    """What is known of a user; nothing of an unknown one."""

  def forget(self, user: str) -> int:
    """Removes a user's events for good; how many there were.

    An event of these that is sent again is a duplicate, and changes nothing.

    Raises:
      NotStored: nothing is removed.
    """

  def put_items(self, states: Mapping[str, ItemState]) -> None:
    """Keeps what is said of items, in place of what was.

    Raises:
      NotStored: nothing is kept.
    """

  def items(self) -> dict[str, ItemState]:
    """All that was said of items."""

  def close(self) -> None:
    """Lets go of files; nothing is called any more."""
