# SPDX-License-Identifier: Apache-2.0
"""Lists of items that users took together: what a list is to be found for.

    Baskets      the items of one request, such as an invoice or a session
    NextItems    the next items that were wanted, `size` at a time

A list has different items, in their order; the same item again is dropped and
counted, or an error. Of a basket of more than `size` items the first are the
list, and all of them are the truth that a found list is compared with. What is
known at a list is what happened before its first event's time: nothing of that
moment, whose order says nothing.

`wanted` says which events lists and histories are of (data/dataset/feedback.py:
an event counts if any of its tasks was done); None = all.
"""

from collections.abc import Iterator
import dataclasses
from typing import Protocol, runtime_checkable

from absl import logging
from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.schema import Record

_WHERE = "lists"


@dataclasses.dataclass(frozen=True)
class TargetList:
  """One list of a user.

  Attributes:
    end: events [0, end) of the record came before it.
    items: all of its different items, in their order; the first `size` of them
      are what is to be written.
    repeats: events that were dropped, of items that it had already.
  """

  end: int
  items: Int[np.ndarray, "n"]
  repeats: int


@runtime_checkable
class ListRule(Protocol):
  """What makes lists of a user's events.

  Attributes:
    size: J, items that are to be written.
    wanted: see the module docstring.
  """

  size: int
  wanted: Feedback | None

  def of(
    self,
    record: Record,
    events_n: Int[np.ndarray, "n"],
    wanted: BoundFeedback | None,
  ) -> list[TargetList]:
    """Lists of some events, those that are too short included.

    Args:
      record: of a user.
      events_n: positions that may be in lists, ascending.
      wanted: of the data set.
    """

  def fits(self, found: TargetList) -> bool:
    """Whether a list has enough items."""


@dataclasses.dataclass(frozen=True)
class _Rule:
  """What rules share.

  Attributes:
    size: J, items that are to be written.
    least: different items that a list must have; None = size.
    wanted: see the module docstring.
    repeats: "drop" an item that a list has already, or "refuse" such lists.
  """

  size: int = 5
  least: int | None = None
  wanted: Feedback | None = None
  repeats: str = "drop"

  def __post_init__(self):
    check_counts(self, _WHERE, "size")
    if self.least is not None:
      check_counts(self, _WHERE, "least")
      if self.least > self.size:
        raise ValueError(
          f"{_WHERE}.least={self.least} is more than size={self.size}, the"
          " items that are written."
        )
    if self.repeats not in ("drop", "refuse"):
      raise ValueError(
        f"{_WHERE}.repeats={self.repeats!r} must be 'drop' or 'refuse'."
      )

  def fits(self, found: TargetList) -> bool:
    """See ListRule."""
    return len(found.items) >= (self.size if self.least is None else self.least)

  def _list(self, record: Record, events_n: Int[np.ndarray, "n"]) -> TargetList:
    """The list of these events, of which there is at least one."""
    items_n = record["item"][events_n]
    _, first = np.unique(items_n, return_index=True)
    repeats = len(items_n) - len(first)
    if repeats and self.repeats == "refuse":
      raise ValueError(
        f"a list of user number {int(record['user'])} has {repeats} of its"
        f" {len(items_n)} items again, from event {events_n[0]} on: a list is"
        f" of different items. {_WHERE}.repeats='drop' keeps the first of each."
      )
    end = int(events_n[0])
    if "time" in record:
      end = int(np.searchsorted(record["time"], record["time"][end]))
    return TargetList(end, items_n[np.sort(first)], repeats)


@dataclasses.dataclass(frozen=True)
class Baskets(_Rule):
  """Every request of a user is a list; see the module docstring."""

  def of(
    self,
    record: Record,
    events_n: Int[np.ndarray, "n"],
    wanted: BoundFeedback | None,
  ) -> list[TargetList]:
    """See ListRule; ValueError for a data set without requests."""
    if "request" not in record:
      raise ValueError(
        "baskets are told by requests, and the data set has none: map a request"
        " column, or take dataset.NextItems."
      )
    events_n = _listed(record, events_n, wanted)
    numbers_n = record["request"][events_n]
    _, first, group_n = np.unique(
      numbers_n, return_index=True, return_inverse=True
    )
    return [
      self._list(record, events_n[group_n == g]) for g in np.argsort(first)
    ]


@dataclasses.dataclass(frozen=True)
class NextItems(_Rule):
  """Events one behind the other, `size` at a time; see the module docstring.

  A list ends with its last different item, and the next one begins behind it.
  """

  def of(
    self,
    record: Record,
    events_n: Int[np.ndarray, "n"],
    wanted: BoundFeedback | None,
  ) -> list[TargetList]:
    """See ListRule."""
    events_n = _listed(record, events_n, wanted)
    found, start, seen = [], 0, set()
    for place, item in enumerate(record["item"][events_n].tolist()):
      seen.add(item)
      if len(seen) == self.size:
        found.append(self._list(record, events_n[start : place + 1]))
        start, seen = place + 1, set()
    if start < len(events_n):
      found.append(self._list(record, events_n[start:]))
    return found


def is_wanted(
  record: Record, wanted: BoundFeedback | None
) -> Bool[np.ndarray, "L"]:
  """Which events lists and histories are of."""
  if wanted is None:
    return np.ones(len(record["item"]), bool)
  return wanted.done(record) > 0


def _listed(record, events_n, wanted):
  """Those that a list may have: wanted, and not at a time that nobody knows."""
  may = is_wanted(record, wanted)
  if wanted is not None and wanted.min_value is None:
    may = may & wanted.asked(record)
  return events_n[may[events_n]]


def lists_of_part(
  histories: HistorySource,
  part: str,
  rule: ListRule,
  wanted: BoundFeedback | None,
  users: UserPart | None = None,
) -> Iterator[tuple[Record, TargetList]]:
  """The lists of validation or test that are long enough, user by user.

  A split may ask for the first event of each moment alone: the others are of
  lists too, but for those that it skips.

  Args:
    histories: a prepared data set.
    part: "validation" or "test".
    rule: makes lists of the events of that part.
    wanted: of the data set.
    users: whose lists; None = all.
  """
  for user in range(len(histories)):
    if users is not None and not users.has(user):
      continue
    record = histories[user]
    events = histories.split.wanted(record, part)
    if not len(events):
      continue
    for found in rule.of(record, events, wanted):
      if rule.fits(found):
        yield record, found


@dataclasses.dataclass(frozen=True)
class TrainingLists:
  """The lists of all training parts that have a history and are long enough.

  Attributes:
    user_N: whose they are.
    end_N: events of the user before each.
    items_NJ: the first J of their items; 0 behind the end.
    moment_N: time of each list's first event; 0 in data without times.
    counts: lists that were left out, and repeated items, by reason.
  """

  user_N: Int[np.ndarray, "N"]
  end_N: Int[np.ndarray, "N"]
  items_NJ: Int[np.ndarray, "N J"]
  moment_N: Int[np.ndarray, "N"]
  counts: dict[str, int]

  @classmethod
  def of(
    cls,
    histories: HistorySource,
    rule: ListRule,
    wanted: BoundFeedback | None,
    users: UserPart | None = None,
  ) -> "TrainingLists":
    """Reads all users once, and logs what was left out."""
    rows, items = [], []
    counts = {"too short": 0, "without a history": 0, "repeated items": 0}
    for user in range(len(histories)):
      if users is not None and not users.has(user):
        continue
      record = histories[user]
      train = np.arange(histories.split.train_end(record))
      known = np.cumsum([0, *is_wanted(record, wanted)])
      for found in rule.of(record, train, wanted):
        if not rule.fits(found):
          counts["too short"] += 1
          continue
        if not known[found.end]:
          counts["without a history"] += 1
          continue
        counts["repeated items"] += found.repeats
        kept = found.items[: rule.size]
        items.append(np.pad(kept, (0, rule.size - len(kept))))
        time = record["time"][found.end] if "time" in record else 0
        rows.append((user, found.end, time))
    said = ", ".join(f"{n:,} {why}" for why, n in counts.items())
    logging.info("%d lists to train on; left out: %s", len(rows), said)
    user_N, end_N, moment_N = np.array(rows, np.int32).reshape(-1, 3).T
    items_NJ = np.array(items, np.int32).reshape(-1, rule.size)
    return cls(user_N, end_N, items_NJ, moment_N, counts)

  def __len__(self) -> int:
    return len(self.user_N)
