# SPDX-License-Identifier: Apache-2.0
"""Interleaved tokens of items that were shown together: what they see of each
other, in which order they stand, and in which slots they were shown.

    siblings   an item of the history sees              order within a request
    hidden     what is before its request               as logged
    logged     also the items shown before it in its
               request, with what came of them          as logged
    shuffled   the same                                 drawn anew

What came of a sibling tells a label, and the more so where a list was ordered
by what the user would do. `hidden` masks it; a plain causal mask (`logged`)
learns to read it off, which no request of a service can; an order drawn anew
for each example (`shuffled`) leaves it nothing to read off the order, at no
cost in attention (arXiv 2602.12354). Only labelled events change places, only
with those of their own request, and in training alone: requests that are scored
have the logged order, and their candidates never see each other.

A slot is the place of an item in its request, 1, 2, .., in the order of the
log, whatever the order of tokens. Training is told the logged slots (slot_BL),
candidates all have `asked_slot`, so that scores do not depend on where
candidates are put. Items in slots beyond num_slots share the last.
"""

import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.layouts.actions import Interleaved
from genrec_jax.data.layouts.request_columns import PLACE, SLOT, put
from genrec_jax.data.layouts.request_events import RequestEvents
from genrec_jax.data.layouts.request_examples import ASKED
from genrec_jax.data.schema import Record

_SIBLINGS = ("hidden", "logged", "shuffled")
_WHERE = "config.pipeline.layout"


@runtime_checkable
class SlotModel(Protocol):
  """A model that reads in which slot an item was shown.

  Attributes:
    num_slots: that it tells apart.
  """

  num_slots: int


@dataclasses.dataclass(frozen=True)
class _ShownEvents(RequestEvents):
  """Events, their request's number in the record, and their slot in it."""

  number: Int[np.ndarray, "n"]
  slot: Int[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class ShownTogether(Interleaved):
  """See the module docstring.

  Attributes:
    siblings: "hidden", "logged" or "shuffled".
    num_slots: slots that are told apart; 0 = none is told.
    asked_slot: of candidates of requests.
  """

  siblings: str = "hidden"
  num_slots: int = 0
  asked_slot: int = 1

  def __post_init__(self):
    super().__post_init__()
    if self.siblings not in _SIBLINGS:
      raise ValueError(
        f"{_WHERE}.siblings={self.siblings!r} is unknown."
        + choices_hint(self.siblings, _SIBLINGS)
      )
    if self.siblings != "hidden" and not self.causal:
      raise ValueError(
        f"{_WHERE}.siblings={self.siblings!r} needs causal=True: otherwise a"
        " history sees all of itself anyway."
      )
    check_counts(self, _WHERE, "num_slots", least=0)
    if self.num_slots and not 1 <= self.asked_slot <= self.num_slots:
      raise ValueError(
        f"{_WHERE}.asked_slot={self.asked_slot} must be one of the slots 1 to"
        f" num_slots={self.num_slots}."
      )

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of a request of `source`, whose items are told their slots.

    Args:
      record: of `source`.
      end: events of its history.
      rng: draws the order; None = as logged.
    """
    rows = super().example(record, end, rng)
    if self.num_slots and ASKED in record:
      asked = record[ASKED]
      # They end the example: what the history is asked stands where it is.
      slots = np.minimum(slots_of(record)[asked], self.num_slots)
      rows[len(rows) - len(asked) :, PLACE[SLOT]] = slots
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """The arrays of every layout of requests, and slot_BL where it is told."""
    batch = super().batch(rows_BLC, segment_ids_BL, positions_BL)
    if self.num_slots:
      slot_BL = np.ascontiguousarray(rows_BLC[:, :, PLACE[SLOT]])
      batch[f"{SLOT}_BL"] = slot_BL
    return batch

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a system would read less than tokens tell."""
    super().check_system(system)
    if not self.num_slots:
      return
    seams.require(system, SlotModel, "config.system")
    if system.num_slots != self.num_slots:
      raise ValueError(
        f"config.system.num_slots={system.num_slots}, and {_WHERE} tells"
        f" {self.num_slots} slots apart: set it to that."
      )

  def history(self, seen: RequestEvents) -> Int[np.ndarray, "n C"]:
    """Pairs of tokens; items may see the siblings in front of them."""
    rows = super().history(seen)
    items = rows[::2]
    if self.siblings != "hidden":
      put(
        items,
        positions=2 * np.arange(len(items)),
        limit=2 * _visible(seen.number, seen.first),
      )
    if self.num_slots:
      put(items, slot=np.minimum(seen.slot, self.num_slots))
    return rows

  def arranged(
    self, seen: RequestEvents, rng: np.random.Generator | None
  ) -> RequestEvents:
    """Labelled events of each request in an order drawn anew."""
    if self.siblings != "shuffled" or rng is None:
      return seen
    order = shuffled_within(seen.number, seen.asked, rng)
    names = ("event", "item", "shown", "label", "time", "slot")
    # All else is of the request, or the same for whatever changes places.
    moved = {name: getattr(seen, name)[order] for name in names}
    return dataclasses.replace(seen, **moved)

  def _events(self, record: Record, end: int) -> RequestEvents:
    seen = super()._events(record, end)
    fields = {f.name: getattr(seen, f.name) for f in dataclasses.fields(seen)}
    return _ShownEvents(
      **fields,
      number=request_numbers(record)[seen.event],
      slot=slots_of(record)[seen.event],
    )

  def _rows(
    self, seen: RequestEvents, items, time: int, user: int
  ) -> Int[np.ndarray, "n C"]:
    rows = super()._rows(seen, items, time, user)
    if self.num_slots:
      rows[len(rows) - len(items) :, PLACE[SLOT]] = self.asked_slot
    return rows


def slots_of(record: Record) -> Int[np.ndarray, "L"]:
  """The place of every event of a record in its request: 1, 2, ..."""
  numbers = request_numbers(record)
  order = np.argsort(numbers, kind="stable")
  ordered = numbers[order]
  slots = np.zeros(len(numbers), np.int32)
  first = np.searchsorted(ordered, ordered, side="left")
  slots[order] = 1 + np.arange(len(numbers)) - first
  return slots


def shuffled_within(
  number: Int[np.ndarray, "n"],
  movable: Bool[np.ndarray, "n"],
  rng: np.random.Generator,
) -> Int[np.ndarray, "n"]:
  """Which event stands at each place, once some have changed places.

  Args:
    number: of the request that each event belongs to.
    movable: whether it may change places, with others of its request.
    rng: draws every order alike.
  """
  order = np.arange(len(number))
  places = np.flatnonzero(movable)
  own = number[places]
  # Sorted by request, and within it by place or at random: blocks line up.
  by_place = places[np.argsort(own, kind="stable")]
  order[by_place] = places[np.lexsort((rng.random(len(places)), own))]
  return order


def _visible(
  number: Int[np.ndarray, "n"], first: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
  """How many of the first events each item may look back to.

  Those before its request, and of its own those in front of it that stand next
  to each other: behind an event of another request, which may have been made
  later, it sees nothing more.
  """
  count = len(number)
  begins = np.concatenate([[True], number[1:] != number[:-1]])[:count]
  ends = np.append(np.flatnonzero(begins)[1:], count)
  end_of_run = ends[np.cumsum(begins) - 1]
  until = np.minimum(np.arange(count), end_of_run[first])
  return np.where(number[first] == number, until, first)
