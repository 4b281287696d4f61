# SPDX-License-Identifier: Apache-2.0
"""RawLog -> arrays: codes for ids, microseconds for times, file order kept.

One pass over the log (Polars, streaming) turns text into codes and numbers;
rows that cannot be read are marked during the pass, and the first of them is
fetched afterwards for the error, with its row number from 1 (the header of a
file is not counted). Rows without a user or item are dropped and counted.
"""

import dataclasses

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.data import ids, schema, times
from genrec_jax.data.ids import Types

NO_USER = "no user id"
NO_ITEM = "no item id"
NO_TIME = "no timestamp"


@dataclasses.dataclass
class Events:
  """Columns of a log (E,) in file order; None where the source has none.

  `microseconds` since 1970; `order` sorts events of equal time; `action` is
  an index into `actions`, 0 = none; `request` -1 = none.
  """

  user: Int[np.ndarray, "E"]
  item: Int[np.ndarray, "E"]
  microseconds: Int[np.ndarray, "E"] | None
  order: Int[np.ndarray, "E"] | None
  action: Int[np.ndarray, "E"] | None
  value: Float[np.ndarray, "E"] | None
  request: Int[np.ndarray, "E"] | None
  user_ids: list[str]
  item_ids: list[str]
  actions: list[str]

  def take(self, index: np.ndarray) -> "Events":
    """The events at positions, or where a mask holds, in that order."""
    changed = {
      field.name: getattr(self, field.name)[index]
      for field in dataclasses.fields(self)
      if isinstance(getattr(self, field.name), np.ndarray)
    }
    return dataclasses.replace(self, **changed)


def read(
  raw: schema.RawLog, *, drop_missing_timestamps: bool
) -> tuple[Events, int, dict[str, int]]:
  """Reads a log.

  Returns:
    the events, the number of rows that were read, and those dropped by reason.

  Raises:
    ValueError: no rows; a column of a wrong type; an id, time, value or order
      that cannot be read (with its row); missing times unless these are to be
      dropped.
  """
  log = raw.events.lazy()
  types = log.collect_schema()
  for name in ("user", "item"):
    if name not in types:
      raise ValueError(
        f"the log has no column {name!r}; it has {', '.join(types)}."
      )
  try:
    frame, reading = _collect(log, types)
  except pl.exceptions.PolarsError as e:
    where = raw.explain or "cannot read the log: {}".format
    raise ValueError(where(e)) from e
  if frame.is_empty():
    raise ValueError(
      "the log has no events"
      + (f" ({', '.join(raw.sources)})." if raw.sources else ".")
    )
  user, user_ids = ids.codes(frame["user"])
  item, item_ids = ids.codes(frame["item"])
  keep, dropped = _complete(
    frame, user, item, drop_missing_timestamps=drop_missing_timestamps
  )
  action, actions = None, [""]
  if "action" in types:
    action, actions = _actions(frame["action"], raw.actions)
  microseconds = None
  if reading is not None and keep.any():
    microseconds = _microseconds(
      frame["timestamp"], keep, raw.timestamp_unit or reading.unit
    )
  events = Events(
    user=user,
    item=item,
    microseconds=microseconds,
    order=frame["order"].to_numpy() if "order" in types else None,
    action=action,
    value=frame["value"].fill_null(np.nan).to_numpy()
    if "value" in types
    else None,
    request=ids.codes(frame["request"])[0] if "request" in types else None,
    user_ids=user_ids,
    item_ids=item_ids,
    actions=actions,
  )
  return (events if keep.all() else events.take(keep)), len(frame), dropped


def _collect(
  log: pl.LazyFrame, types: Types
) -> tuple[pl.DataFrame, times.Reading | None]:
  """The columns as codes and numbers, and how times were read."""
  wanted, marks = [], []
  for name in ("user", "item", "action", "request"):
    if name in types:
      wanted.append(ids.interned(name, types).alias(name))
      wrong = ids.not_whole(name, types)
      if wrong is not None:
        marks.append(wrong.fill_null(False).alias(f"bad {name}"))
  for name, dtype in (("value", pl.Float32), ("order", pl.Int64)):
    if name in types:
      number = pl.col(name).cast(dtype, strict=False)
      wanted.append(number.alias(name))
      marks.append(_unread(name, types, number).alias(f"bad {name}"))
  reading = None
  if "timestamp" in types:
    choices = times.readings("timestamp", types)
    reading = _likely(log, types, choices)
    wanted.append(reading.value.alias("timestamp"))
    marks.append(
      _unread("timestamp", types, reading.value).alias("bad timestamp")
    )
  frame = log.select(*wanted, *marks).collect(engine="streaming")
  if reading is not None and frame["bad timestamp"].any():
    reading, values = _reread(log, types, choices)
    frame = frame.with_columns(values.alias("timestamp"))
  for mark in marks:
    name = mark.meta.output_name()
    if name != "bad timestamp" and frame[name].any():
      _raise_unreadable(log, name.removeprefix("bad "), frame[name])
  if "order" in types and frame["order"].null_count():
    row = int(frame["order"].is_null().arg_max())
    raise ValueError(
      f"row {row + 1} has no order; every event needs one, or none."
    )
  return frame, reading


def _unread(name: str, types: Types, parsed: pl.Expr) -> pl.Expr:
  """True where there is something and it could not be read."""
  present = pl.col(name).is_not_null()
  if types[name] == pl.String:
    present = present & (pl.col(name).str.len_bytes() > 0)
  if types[name].is_float():
    present = present & pl.col(name).is_not_nan()
  return present & parsed.is_null()


def _likely(
  log: pl.LazyFrame, types: Types, choices: list[times.Reading]
) -> times.Reading:
  """The reading that fits the head of the log best."""
  if len(choices) == 1:
    return choices[0]
  failures = (
    log.select("timestamp")
    .head(1000)
    .select(
      _unread("timestamp", types, choice.value).sum().alias(str(i))
      for i, choice in enumerate(choices)
    )
    .collect()
    .row(0)
  )
  return choices[int(np.argmin(failures))]


def _reread(
  log: pl.LazyFrame, types: Types, choices: list[times.Reading]
) -> tuple[times.Reading, pl.Series]:
  """Tries every reading on the whole log; raises if none fits."""
  best = None
  for choice in choices:
    frame = log.select(
      choice.value.alias("timestamp"),
      _unread("timestamp", types, choice.value).alias("bad"),
    ).collect(engine="streaming")
    failures = int(frame["bad"].sum())
    if not failures:
      return choice, frame["timestamp"]
    if best is None or failures < best[0]:
      best = (failures, frame["bad"])
  _raise_unreadable(log, "timestamp", best[1])


def _raise_unreadable(log: pl.LazyFrame, name: str, bad: pl.Series) -> None:
  row = int(bad.arg_max())
  value = log.select(name).slice(row, 1).collect().item()
  expected = {
    "timestamp": "seconds or milliseconds since 1970, or an ISO date and time",
    "value": "a number",
    "order": "a whole number",
  }.get(name, "text or a whole number")
  raise ValueError(
    f"cannot read {value!r} as {name} in row {row + 1} (rows from 1, the"
    f" header not counted); expected {expected}. {int(bad.sum()):,} of"
    f" {len(bad):,} rows are like that."
  )


def _complete(
  frame: pl.DataFrame,
  user: Int[np.ndarray, "E"],
  item: Int[np.ndarray, "E"],
  *,
  drop_missing_timestamps: bool,
) -> tuple[np.ndarray, dict[str, int]]:
  """Mask of events with user, item and time, and the others by reason."""
  no_user = user < 0
  no_item = ~no_user & (item < 0)
  keep = ~(no_user | no_item)
  dropped = {NO_USER: int(no_user.sum()), NO_ITEM: int(no_item.sum())}
  if "timestamp" in frame.columns and frame["timestamp"].null_count():
    missing = frame["timestamp"].is_null().to_numpy() & keep
    if missing.any() and not drop_missing_timestamps:
      raise ValueError(
        f"{int(missing.sum()):,} of {len(frame):,} events have no timestamp,"
        f" the first in row {int(missing.argmax()) + 1}. Drop them"
        " (--config.filter.drop_missing_timestamps=True), or, if the file is"
        " in chronological order, leave times out: an empty column name"
        " (--config.data.timestamp=), and in `order` the column that sorts the"
        " events, if there is one."
      )
    keep &= ~missing
    dropped[NO_TIME] = int(missing.sum())
  return keep, {reason: n for reason, n in dropped.items() if n}


def _microseconds(
  column: pl.Series, keep: np.ndarray, unit: str | None
) -> Int[np.ndarray, "E"]:
  """Times of all rows; 0 at rows that are not kept."""
  if not column.null_count() and keep.all():
    values = column.to_numpy()
    rows = np.arange(1, len(values) + 1)
    unit = unit or times.unit_of(values, rows)
    result = times.to_microseconds(values, unit)
    times.check_known(result, values, rows)
    return result
  rows = np.flatnonzero(keep)
  values = column.gather(rows).to_numpy()
  unit = unit or times.unit_of(values, rows + 1)
  microseconds = times.to_microseconds(values, unit)
  times.check_known(microseconds, values, rows + 1)
  result = np.zeros(len(column), np.int64)
  result[rows] = microseconds
  return result


def _actions(
  column: pl.Series, vocabulary: list[str] | None
) -> tuple[Int[np.ndarray, "E"], list[str]]:
  """Indices into ['', *vocabulary], and that list."""
  found, names = ids.codes(column)
  if vocabulary is None:
    return found + np.int32(1), ["", *names]
  unknown = sorted(set(names) - set(vocabulary))
  if unknown:
    raise ValueError(
      f"actions {unknown} are not in the vocabulary {list(vocabulary)}."
    )
  table = [0, *(1 + vocabulary.index(name) for name in names)]
  return np.array(table, np.int32)[found + 1], ["", *vocabulary]
