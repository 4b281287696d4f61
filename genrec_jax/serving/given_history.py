# SPDX-License-Identifier: Apache-2.0
"""A history that a caller gives: ids of items alone, or a table of events.

    GivenHistory.of(["50", "181"])                      oldest first
    GivenHistory.of(pl.DataFrame({"item_id": ["50", "181"],
                                  "action": ["click", "click|like"],
                                  "time": [1_700_000_000, 1_700_000_060]}))

Of a table, item_id alone is needed. `action` is a text of the data set's
actions, "" or null where it is not known; `value` is a number; `time` is a date
or unix seconds; `request` numbers what was shown together. What is not given is
not known: an event then has the action, the value and the request that one of
the data set would have of which the log says nothing. Without a time events lie
one median gap apart.
"""

from collections.abc import Iterable, Mapping, Set
import dataclasses
import os
import warnings

from jaxtyping import Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data import ids
from genrec_jax.data.action_text import UNTIMED, places, words
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.feedback import untimed_actions
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.schema import Manifest, Record
from genrec_jax.data.sources import frames
from genrec_jax.data.sources.tables import open_table
from genrec_jax.data.times import int32_seconds, readings

# What a table may say of events; the rest of what `history` returns.
_FIELDS = ("action", "value", "time", "request")
_TOLD_BESIDE = ("event", "title")
_LATEST = 1e11  # Larger numbers are no seconds (data/times.py).


@dataclasses.dataclass(frozen=True)
class GivenHistory:
  """See the module docstring.

  Attributes:
    events: item_id as text, and those of _FIELDS that are given.
  """

  events: pl.DataFrame

  @classmethod
  def of(cls, history: object) -> "GivenHistory":
    """Of ids in any iterable, or of a Polars or pandas table.

    Raises:
      ValueError: a text, a table without item_id or with unknown columns, or
        ids that are none (data/ids.py).
    """
    if isinstance(history, cls):
      return history
    if isinstance(history, str | bytes | Mapping | Set):
      raise ValueError(
        f"history={short(history)} must be a list of item ids, oldest first"
      )
    if isinstance(history, pl.Series) or not _is_table(history):
      if not isinstance(history, Iterable):
        raise ValueError(f"history={short(history)} must be a list of item ids")
      text = [ids.text_of(item_id) or None for item_id in history]
      return cls(pl.DataFrame({"item_id": text}, {"item_id": pl.String}))
    if isinstance(history, pl.LazyFrame):
      history = frames.collected(history)
    if not len(history):
      return cls(pl.DataFrame({"item_id": []}, {"item_id": pl.String}))
    table = frames.as_polars(history)
    known = ("item_id", *_FIELDS, *_TOLD_BESIDE)
    for name in table.columns:
      if name not in known:
        raise ValueError(
          f"a history has no column {name!r}.{choices_hint(name, known)}"
        )
    if "item_id" not in table.columns:
      raise ValueError(
        "a history needs a column item_id; there are"
        f" {', '.join(table.columns)}."
      )
    table = table.select(n for n in table.columns if n not in _TOLD_BESIDE)
    wrong = ids.not_whole("item_id", table.schema)
    if wrong is not None and table.select(wrong.any()).item():
      raise ValueError(
        "the item_id of a history has numbers that are not whole."
      )
    text = ids.interned("item_id", table.schema).cast(pl.String)
    text = ids.canonical(table.select(text)["item_id"])
    return cls(table.with_columns(item_id=text))

  @classmethod
  def read(cls, path: str | os.PathLike) -> "GivenHistory":
    """Of a file: CSV, TSV, Parquet or JSON lines with such columns.

    Raises:
      ValueError: as `of`, or a file that is missing or damaged.
    """
    return cls.of(open_table(path, ["item_id"]).collect())

  def known(self, catalog: Catalog, strict: bool) -> "GivenHistory":
    """The events of items that the catalogue has; of others it is warned.

    Raises:
      ValueError: an unknown item, with `strict`.
    """
    item_ids = self.events["item_id"].to_list()
    is_known = [len(catalog.known([i])) > 0 for i in item_ids]
    unknown = [
      i for i, known in zip(item_ids, is_known, strict=True) if not known
    ]
    if not unknown:
      return self
    if strict:
      catalog.index_of(unknown[0])
    shown = ", ".join(map(short, unknown[:3]))
    warnings.warn(
      f"{len(unknown)} of {len(item_ids)} items of a history are not in the"
      f" catalogue and are skipped: {shown}"
      + (", ..." if len(unknown) > 3 else ""),
      stacklevel=6,
    )
    return GivenHistory(self.events.filter(pl.Series(is_known)))

  def record(
    self,
    manifest: Manifest,
    catalog: Catalog,
    *,
    values_as_actions: bool = False,
    ends_at: int | None = None,
  ) -> Record:
    """The record of user -1 that these events make.

    Args:
      manifest: of the data set.
      catalog: which has all of the items.
      values_as_actions: the actions are numbers, as of a ranker whose task is
        a value of at least some.
      ends_at: seconds since the epoch of the last event, where the events have
        no times; None = as the first one lies at 0.

    Raises:
      ValueError: what the data set does not have: times, values, an action; or
        times that decrease or leave int32.
    """
    items = [catalog.index_of(i) for i in self.events["item_id"]]
    record = record_of_items(manifest, items)
    given = {n: self.events[n] for n in self.events.columns if n != "item_id"}
    if values_as_actions and "action" in given:
      given.setdefault("value", given.pop("action"))
      given.pop("action", None)
    for name in given:
      if name not in manifest.fields:
        raise ValueError(
          f"a history says {name}, and events of this data set have none: leave"
          f" the column {name} out."
        )
    if "value" in given:
      record["value"] = _numbers(given["value"], "value").astype(np.float32)
    if "request" in given:
      numbers = _numbers(given["request"], "request")
      if np.isnan(numbers).any():
        raise ValueError("a history says of some events alone their request.")
      record["request"] = numbers.astype(np.int32)
    untimed = np.zeros(len(items), bool)
    if "time" in given:
      given["time"] = _moments(given["time"])
      untimed = given["time"].is_null().to_numpy()
    if "action" in given or untimed.any():
      texts = given.get("action", pl.Series([""] * len(items)))
      record["action"] = _actions(manifest, texts, untimed)
    if "time" in given and not untimed.all():
      record["time"] = _times(given["time"], manifest.epoch_seconds or 0)
    elif "time" in record and ends_at is not None and len(items):
      time = record["time"].astype(np.int64)
      record["time"] = int32_seconds(
        time + (ends_at - time[-1]),
        "a history that ends at request_time="
        f"{ends_at + (manifest.epoch_seconds or 0)}",
      )
    return record


def _is_table(history: object) -> bool:
  """Whether it is a table of some library's, and no list."""
  return isinstance(history, pl.DataFrame | pl.LazyFrame) or (
    type(history).__module__.partition(".")[0] == "pandas"
    and type(history).__name__ == "DataFrame"
  )


def _numbers(column: pl.Series, name: str) -> np.ndarray:
  """As float64; NaN where there is none."""
  try:
    found = column.cast(pl.String).replace("", None).cast(pl.Float64)
  except pl.exceptions.PolarsError:
    raise ValueError(
      f"the {name} of a history's events must be numbers, such as 4."
    ) from None
  return found.fill_null(np.nan).to_numpy()


def _actions(
  manifest: Manifest, texts: pl.Series, untimed: np.ndarray
) -> Int[np.ndarray, "n"]:
  """Places in the vocabulary, in which joined actions have any order."""
  known = places(manifest.actions)
  without_time = untimed_actions(manifest.actions)
  found = np.zeros(len(texts), np.int32)
  for row, text in enumerate(texts.cast(pl.String).fill_null("")):
    wanted = words(text) | ({UNTIMED} if untimed[row] else frozenset())
    place = known.get(wanted)
    if place is None and untimed[row]:
      raise ValueError(
        f"event {row} of a history, {text!r}, has no time, and this data set"
        f" has {'' if any(without_time) else 'no events without times and '}no"
        " such action of one: give every event its time, or leave the column"
        " time out."
      )
    if place is None:
      raise ValueError(
        f"the data set has no action {text!r}."
        + choices_hint(text, manifest.actions[1:])
      )
    found[row] = place
  return found


def _moments(column: pl.Series) -> pl.Series:
  """Unix seconds as int64; null where there is none."""
  if column.dtype == pl.String:
    text = column.replace("", None)
    if text.cast(pl.Float64, strict=False).null_count() > text.null_count():
      # The last reading is that of every text which a log may have.
      dated = readings("time", {"time": pl.String})[-1].value
      found = text.to_frame("time").select(time=dated).to_series()
      if found.null_count() > text.null_count():
        raise ValueError(
          "the times of a history must be unix seconds or ISO dates; one is"
          f" {short(text.filter(found.is_null() & text.is_not_null())[0])}."
        )
      return found // 10**6
  if isinstance(column.dtype, pl.Datetime | pl.Date):
    return column.cast(pl.Datetime("us")).dt.epoch("s")
  numbers = pl.Series(_numbers(column, "time")).fill_nan(None)
  if (numbers.abs().max() or 0) > _LATEST:
    raise ValueError(
      "the times of a history must be unix SECONDS, or dates; one is"
      f" {numbers.abs().max():.0f}."
    )
  return numbers.floor().cast(pl.Int64)


def _times(column: pl.Series, epoch: int) -> Int[np.ndarray, "n"]:
  """Seconds since the epoch; without one, a second before the next known.

  What has no time is marked as such by its action, and was shown before what
  follows.
  """
  before = column.fill_null(strategy="backward") - 1
  seconds = column.fill_null(before).fill_null(strategy="forward").to_numpy()
  later = np.flatnonzero(np.diff(seconds) < 0)
  if len(later):
    raise ValueError(
      f"event {later[0] + 1} of a history lies before the one above it: give"
      " the oldest first."
    )
  return int32_seconds(seconds - epoch, "the times of a history")
