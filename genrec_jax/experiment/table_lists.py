# SPDX-License-Identifier: Apache-2.0
"""Lists that a retriever in production has returned, from a table of ids.

    user  item  rank  time      one row per item of a list: CSV, Parquet, ...

With `time` a request has the user's latest list of its time or before; with
`position` that of the event with this number in the user's prepared history
(the first is 0); with neither, each user has one list, and `until` says how
late the events are that it was made of. A user of whom the table has no list at
all, or none of that event, is lacking; one whose lists are all later than the
request gets the earliest, which is then refused as one that knows the future.
Items that the catalogue does not have are left out; of an item that stands
twice in a list the better rank counts.
"""

import dataclasses
import datetime

from jaxtyping import Int
import numpy as np
import polars as pl

from genrec_jax.data import ids, times
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.retriever_lists import NOTHING
from genrec_jax.data.sources.tables import open_table
from genrec_jax.experiment.made_lists import Retriever, Returned


@dataclasses.dataclass(frozen=True)
class TableLists:
  """See the module docstring.

  Attributes:
    path: a file, or a pattern.
    user, item, rank: columns; of equal users and times the lowest rank is best.
    time: column of when a list was made: unix seconds, milliseconds, ... or
      ISO text; "" = there is none.
    position: column of the number of the event; "" = there is none.
    until: ISO date, where there is neither.
  """

  path: str
  user: str = "user"
  item: str = "item"
  rank: str = "rank"
  time: str = ""
  position: str = ""
  until: str = ""

  def __post_init__(self):
    given = [n for n in ("time", "position", "until") if vars(self)[n]]
    if len(given) != 1:
      raise ValueError(
        "a table of lists needs one of time, position and until, to know when"
        f" its lists were made; given are {', '.join(given) or 'none'}."
      )

  def open(self, histories: Histories) -> Retriever:
    """Reads the table.

    Raises:
      ValueError: no file, no such column, ranks, times or positions that are
        no numbers, or no list of any user of the data set.
    """
    wanted = [self.user, self.item, self.rank]
    wanted += [name for name in (self.time, self.position) if name]
    table = open_table(self.path, wanted).collect().select(wanted)
    rows = pl.DataFrame(
      {
        "user": _indices(table[self.user], Users(histories.directory).ids, 0),
        "item": _indices(
          table[self.item], Catalog(histories.directory).ids[1:], 1
        ),
        "rank": self._numbers(table, self.rank),
        "key": self._keys(table, histories.manifest.epoch_seconds),
      }
    )
    known = rows.filter(pl.col("user") >= 0)
    if not len(known):
      raise ValueError(
        f"{self.path} has no list of any user of the data set: is"
        f" {self.user!r} the column of their ids?"
      )
    found = _Table(_by_user(known), by_event=bool(self.position))
    facts = {
      "rows": len(rows),
      "unknown_users": len(rows) - len(known),
      "unknown_items": int((known["item"] < 1).sum()),
    }
    return Retriever(found.ask, facts)

  def _numbers(self, table: pl.DataFrame, name: str) -> pl.Series:
    found = table[name].cast(pl.Float64, strict=False).fill_null(np.nan)
    wrong = ~np.isfinite(found.to_numpy())
    if wrong.any():
      row = int(np.argmax(wrong))
      raise ValueError(
        f"{self.path}: row {row + 1} has {name} {table[name][row]!r}, which is"
        " no number."
      )
    return found

  def _keys(
    self, table: pl.DataFrame, epoch: int | None
  ) -> Int[np.ndarray, "N"]:
    """When lists were made, in seconds since the epoch, or of which event."""
    if self.position:
      return self._numbers(table, self.position).cast(pl.Int64).to_numpy()
    if epoch is None:
      raise ValueError(
        f"{self.path} says when lists were made, and the data set has no"
        " times: give the position of the event instead."
      )
    if self.until:
      return np.full(len(table), _seconds(self.until) - epoch, np.int64)
    microseconds = _microseconds(table, self.time, self.path)
    seconds = microseconds // 1_000_000 - epoch
    return times.int32_seconds(seconds, f"a time of {self.path}").astype("i8")


@dataclasses.dataclass(frozen=True)
class _Table:
  """Lists by user: keys ascending, and a list of each."""

  lists: dict[int, tuple[np.ndarray, list[np.ndarray]]]
  by_event: bool

  def ask(self, requests: Requests, k: int) -> Returned:
    found = np.zeros((len(requests), k), np.int32)
    until = np.full(len(requests), NOTHING, np.int32)
    lacks = np.zeros(len(requests), bool)
    for row, (user, event, asked) in enumerate(
      zip(requests.user, requests.event, requests.query_time, strict=True)
    ):
      keys, lists = self.lists.get(int(user), (np.zeros(0), []))
      place = np.searchsorted(keys, event if self.by_event else asked, "right")
      place = max(int(place) - 1, 0)
      if not len(keys) or (self.by_event and keys[place] != event):
        lacks[row] = True
        continue
      items = lists[place][:k]
      found[row, : len(items)] = items
      # A list of an event was there when it was asked for.
      until[row] = asked if self.by_event else keys[place]
    return Returned(found, until, lacks)


def _by_user(rows: pl.DataFrame) -> dict:
  """user -> (keys, lists), items that are not known left out."""
  found = {}
  grouped = (
    rows.sort(["user", "key", "rank"], maintain_order=True)
    .group_by(["user", "key"], maintain_order=True)
    .agg(pl.col("item").filter(pl.col("item") > 0).unique(maintain_order=True))
  )
  for user, key, items in grouped.iter_rows():
    keys, lists = found.setdefault(user, ([], []))
    keys.append(key)
    lists.append(np.array(items, np.int32))
  return {u: (np.array(keys), lists) for u, (keys, lists) in found.items()}


def _indices(column: pl.Series, names: list[str], start: int) -> list[int]:
  """Index of every id, from `start` on; start - 1 where it is not known."""
  index = {name: place for place, name in enumerate(names, start)}
  return [index.get(ids.text_of(value), start - 1) for value in column]


def _microseconds(
  table: pl.DataFrame, name: str, path: str
) -> Int[np.ndarray, "N"]:
  """A column of times, in whichever way it can be read."""
  for reading in times.readings(name, dict(table.schema)):
    found = table.select(reading.value.alias("value"))["value"]
    if found.null_count() or not len(found):
      continue
    values = found.to_numpy()
    unit = reading.unit or times.unit_of(values, np.arange(1, len(values) + 1))
    return times.to_microseconds(values, unit)
  raise ValueError(
    f"{path}: the column {name!r} has times that cannot be read. Write unix"
    " seconds, or such as 2015-01-31 12:00:00."
  )


def _seconds(text: str) -> int:
  try:
    moment = datetime.datetime.fromisoformat(text)
  except ValueError as e:
    raise ValueError(f"until={text!r} is no date such as '2015-01-31'.") from e
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  return int(moment.timestamp())
