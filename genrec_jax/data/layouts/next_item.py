# SPDX-License-Identifier: Apache-2.0
"""How a history becomes model input: Record -> Example, Requests -> Batch.

NextItem: n + 1 events give n inputs, each labelled with the event after it.
An Example is one user's rows of _COLUMNS, (n, columns) int32; the pipeline
packs examples into rows and `batch` splits them into the arrays of a Batch:

    item_BL  label_BL  time_BL  query_time_BL  user_BL
    segment_ids_BL  positions_BL

query_time is the time of the label (HSTU's t_{i+1}); label 0 = no loss. Where
`next_moment`, the label is an event of the next time instead, and inputs are
the events that have one: what is bought together has no order, and none of it
is asked for by the rest of the basket. `shuffled_gaps` is a control, by which
times say nothing of when users paused (shuffled_gaps.py). With `lists` also
what other retrievers returned there (event_lists.py); with `calendar`
calendar_BLC, what clock and calendar show at query_time where the data's people
live (data/local_time.py); what else it may say of events, by actions, weights
and groups, is in event_columns.py. Where training takes a part of a long
history (data/layouts/stochastic_length.py), an input keeps its own label: the
event that followed it, kept or not.
"""

from collections.abc import Callable
import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core.types import ItemData
from genrec_jax.data import zones
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.base import (
  LayoutArtifacts,
  check_item_content,
  item_data,
  named_columns,
)
from genrec_jax.data.layouts.event_columns import EventColumns
from genrec_jax.data.layouts.event_lists import EventLists
from genrec_jax.data.layouts.shuffled_gaps import shuffled_gaps
from genrec_jax.data.layouts.stochastic_length import StochasticLength
from genrec_jax.data.local_time import LocalTime
from genrec_jax.data.schema import Record

# Rows of requests are this long, or this times as long, or its square, ...
_SHORTEST, _LONGER = 16, 4
_COLUMNS = ("item", "label", "time", "query_time", "user")


@dataclasses.dataclass(frozen=True)
class NextItem(EventColumns):
  """Inputs and next-item labels of the most recent events.

  Attributes:
    max_length: inputs kept per user, the most recent ones.
    stochastic_length: trains on a part of most long histories; requests are
      always whole. None = always whole.
    item_content: what models that read what items are are given: "vectors" of
      texts, or "text_tokens".
    calendar: give the calendar of query times, in the source's time_zone, or
      else in UTC.
    lists: what each input is given of other retrievers' lists; None = nothing.
    item_data: gives what is known of the items; set by `bind`.
    next_moment: label events by one of those at the next time, drawn anew in
      every epoch, and not by the event behind them, which may share theirs.
    local_time: of the data set; likewise.
    shuffled_gaps: seed by which the gaps between a user's events, and that
      before what is asked for, change places; None = they stay.
  """

  max_length: int
  stochastic_length: StochasticLength | None = None
  item_content: str = "vectors"
  calendar: bool = False
  lists: EventLists | None = None
  item_data: Callable[[], ItemData] | None = None
  next_moment: bool = False
  local_time: LocalTime = LocalTime(0)
  shuffled_gaps: int | None = None

  def __post_init__(self):
    check_item_content(self.item_content)
    super().__post_init__()
    if self.groups is not None and self.stochastic_length is not None:
      raise ValueError(
        "config.pipeline.layout has groups and stochastic_length, which would"
        " leave groups out by chance: choose one."
      )
    if self.shuffled_gaps is None:
      return
    if self.shuffled_gaps < 0 or self.calendar or self.next_moment:
      raise ValueError(
        f"config.pipeline.layout.shuffled_gaps={self.shuffled_gaps} must be a"
        " seed of 0 or more, and moves times: calendar and next_moment, which"
        " ask for those that were, must be off."
      )

  @property
  def num_columns(self) -> int:
    """Columns of an Example."""
    return sum(self._widths.values())

  @property
  def _widths(self) -> dict[str, int]:
    """Columns by what they hold, in their order; 0 of what is off."""
    of_lists = 0 if self.lists is None else self.lists.num_columns
    widths = dict.fromkeys(_COLUMNS, 1) | {"lists": of_lists}
    return widths | self.further_widths

  @property
  def _places(self) -> dict[str, slice]:
    """Where the columns are that are not off."""
    found, start = {}, 0
    for name, width in self._widths.items():
      if width:
        found[name] = slice(start, start + width)
      start += width
    return found

  def bind(self, artifacts: LayoutArtifacts) -> "NextItem":
    """The layout with what it needs of the data set: its items, the lists, its
    clock, its actions.

    Raises:
      ValueError: a calendar of data without times, weights of data without
        values, or actions that the data do not have.
    """
    manifest = artifacts.histories.manifest
    if self.calendar and manifest.epoch_seconds is None:
      raise ValueError(
        "config.pipeline.layout.calendar=True reads times, and the data set has"
        " none: map a timestamp column, or set it to False."
      )
    zone = manifest.options["source"].get("time_zone", zones.UTC)
    return dataclasses.replace(
      self,
      action_tables=self.tables(manifest),
      item_data=item_data(artifacts, self.item_content),
      lists=None if self.lists is None else self.lists.bind(artifacts),
      local_time=LocalTime(manifest.epoch_seconds or 0, zone),
    )

  def init_data(self) -> ItemData:
    """What is known of the items; ValueError where they have no vectors."""
    return self.item_data()

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Inputs and labels among the first `end` events of a record.

    Args:
      record: a user's history.
      end: events that may be seen.
      rng: draws what stochastic_length keeps and next_moment asks for; None
        keeps all, and asks for the events of a moment in turn.

    Returns:
      One row per input, at most max_length; no rows where nothing is a label,
      as where end < 2.

    Raises:
      ValueError: lists are asked for that are not there, or cannot be taken;
        an event without an action or a value that its label would need; next
        moments of data without times.
    """
    told = self._told(record, end)
    first, label = self._following(record, end, rng)
    at, grouped = self._window(len(label))
    rows = np.zeros((len(at), self.num_columns), np.int32)
    if len(at):
      columns = self._inputs(told, at, grouped)
      columns |= self._labels(told, label[at])
      columns["label"][: self._groups_in(grouped)] = 0
      if not columns["label"].any():
        return rows[:0]
      columns["user"] = np.full(len(at), record["user"])
      if self.lists is not None:
        columns["lists"] = self.lists.rows(record, first[at], label[at])
      places = self._places
      for name, column in columns.items():
        rows[:, places[name]] = column.reshape(len(at), -1)
    if self.stochastic_length is None or rng is None:
      return rows
    # Without times, an event's age is the number of inputs after it.
    order = np.arange(len(at)) if "time" not in record else rows[:, 2]
    order = order.astype(np.float64)
    ages = order.max(initial=0) - order
    return rows[self.stochastic_length.select(ages, self.max_length, rng)]

  def _told(self, record: Record, end: int) -> Record:
    """What is told of the first `end` events of a record."""
    if self.shuffled_gaps is None or "time" not in record or not end:
      return record
    times = shuffled_gaps(
      record["time"][:end], self.shuffled_gaps, int(record["user"])
    )
    return {**record, "time": times}

  def _following(
    self, record: Record, end: int, rng: np.random.Generator | None
  ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Of inputs, from the first one on: where what comes next begins, and
    which event of it is the label."""
    if not self.next_moment:
      behind = np.arange(1, max(end, 1))
      return behind, behind
    if "time" not in record:
      raise ValueError(
        "config.pipeline.layout.next_moment=True reads times, and the data set"
        " has none: map a timestamp column, or set it to False."
      )
    times = record["time"][:end]
    first = _behind(times, times)
    first = first[first < len(times)]
    count = _behind(times, times[first]) - first
    if rng is not None:
      return first, first + rng.integers(count)
    own = np.searchsorted(times, times[: len(first)])
    return first, first + (np.arange(len(first)) - own) % count

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows; arrays are (B, L) int32, the calendar
    (B, L, 4), groups (B, N, G), weights float32; of lists see EventLists."""
    batch = named_columns(rows_BLC, segment_ids_BL, _COLUMNS)
    found = {
      name: np.ascontiguousarray(rows_BLC[:, :, place])
      for name, place in self._places.items()
      if name not in _COLUMNS
    }
    if self.lists is not None:
      batch |= self.lists.batch(found["lists"])
    if self.actions:
      batch["action_BL"] = found["action"][:, :, 0]
    if self.weighs:
      batch["weight_BL"] = found["weight"][:, :, 0].view(np.float32)
    batch |= self._gathered(found, rows_BLC.shape[1])
    batch["positions_BL"] = positions_BL.astype(np.int32)
    return self._with_calendar(batch)

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: its most recent events, right padded.

    The last event's query time is the request's; labels are 0.
    """
    shape = (len(requests), self.max_length)
    batch = {f"{name}_BL": np.zeros(shape, np.int32) for name in _COLUMNS}
    batch["segment_ids_BL"] = np.zeros(shape, np.int32)
    widths = self._widths
    further = {
      name: np.zeros((*shape, widths[name]), np.int32)
      for name in ("action", "group_item", "group_action")
      if widths[name]
    }
    for row, record in enumerate(requests.history):
      at, grouped = self._window(len(record["item"]))
      n = len(at)
      if not n:
        continue
      if "time" in record:
        times = np.append(record["time"], requests.query_time[row])
        asked = self._told({**record, "time": times}, len(times))["time"]
        record = {**record, "time": asked[:-1]}
      batch["segment_ids_BL"][row, :n] = 1
      batch["user_BL"][row, :n] = requests.user[row]
      for name, column in self._inputs(record, at, grouped).items():
        if name in further:
          further[name][row, :n] = column.reshape(n, -1)
        else:
          batch[f"{name}_BL"][row, :n] = column
      if "time" in record:
        times, behind = record["time"], at + 1
        if self.next_moment:
          behind = _behind(times, times[at])
        batch["query_time_BL"][row, :n] = asked[behind]
    if self.actions:
      batch["action_BL"] = further["action"][:, :, 0]
    batch |= self._gathered(further, self.max_length)
    positions = np.arange(self.max_length, dtype=np.int32)
    batch["positions_BL"] = np.where(
      batch["segment_ids_BL"] > 0, positions[None, :], 0
    ).astype(np.int32)
    return self._with_calendar(batch)

  def shortened(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch in rows of 16, 64, 256, ... or max_length, the shortest that
    hold its histories.

    Few lengths: each is compiled once, which takes as long as some thousand
    requests. Padding is at the end, where no event sees it.
    """
    longest = (batch["segment_ids_BL"] > 0).sum(axis=1).max(initial=0)
    length = _SHORTEST
    while length < longest:
      length *= _LONGER
    if length >= self.max_length:
      return batch
    # Groups lie side by side, whatever the places; few events have none.
    return {
      name: x if name.endswith("_BNG") else np.ascontiguousarray(x[:, :length])
      for name, x in batch.items()
    }

  def _with_calendar(self, batch: dict[str, np.ndarray]):
    if not self.calendar:
      return batch
    return batch | {"calendar_BLC": self.local_time.of(batch["query_time_BL"])}


def _behind(
  times_L: Int[np.ndarray, "L"], moments: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
  """Places of the first events after these moments; L where there is none."""
  return np.searchsorted(times_L, moments, side="right")
