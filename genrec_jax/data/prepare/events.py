# SPDX-License-Identifier: Apache-2.0
"""RawLog -> arrays: codes for ids, microseconds for times, file order kept.

One pass over the log (Polars, streaming) turns text into codes and numbers;
rows that cannot be read are marked during the pass, and the first of them is
fetched afterwards for the error, with its row number from 1 (the header of a
file is not counted). Rows without a user or item are dropped and counted;
times that nobody can read are an error, or dropped and counted.
"""

import dataclasses
import functools

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import short
from genrec_jax.data import ids, schema, times
from genrec_jax.data.ids import Types
from genrec_jax.data.prepare import event_times

NO_USER = "no user id"
NO_ITEM = "no item id"
NULL_USER, NULL_ITEM = (
  f"{kind} id is a word for none ({', '.join(ids.NULL_WORDS)})"
  for kind in ("user", "item")
)
NO_TIME = "no timestamp"
UNREADABLE_TIME = "unreadable timestamp"
UNKNOWN_TIME = "timestamp of 1970 or before, others of 1971 or later"


@dataclasses.dataclass
class Events:
  """Columns of a log (E,) in file order; None where the source has none.

  `microseconds` since 1970; `order` sorts events of equal time; `action` is
  an index into `actions`, 0 = none; `request` -1 = none; `scene` an index into
  `scenes`, 0 = not known.
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
  scene: Int[np.ndarray, "E"] | None = None
  scenes: list[str] = dataclasses.field(default_factory=list)

  def take(self, index: np.ndarray) -> "Events":
    """The events at positions, or where a mask holds, in that order."""
    changed = {
      field.name: getattr(self, field.name)[index]
      for field in dataclasses.fields(self)
      if isinstance(getattr(self, field.name), np.ndarray)
    }
    return dataclasses.replace(self, **changed)


def read(
  raw: schema.RawLog,
  *,
  drop_missing_timestamps: bool = False,
  drop_unreadable_timestamps: bool = False,
  ignore_timestamps: bool = False,
  null_words: bool = True,
) -> tuple[Events, int, dict[str, int]]:
  """Reads a log; the options are those of data/prepare/encoding.py.

  Returns:
    the events, the number of rows that were read, and those dropped by reason.

  Raises:
    ValueError: no rows; a column of a wrong type; an id, time, value or order
      that cannot be read (with its row); missing or unreadable times unless
      these are to be dropped.
  """
  log = raw.events.lazy()
  if ignore_timestamps:
    log = log.drop(event_times.NAME, strict=False)
  types = log.collect_schema()
  for name in ("user", "item"):
    if name not in types:
      raise ValueError(
        f"the log has no column {name!r}; it has {', '.join(types)}."
      )
  try:
    frame, reading = _collect(
      log, types, drop_unreadable_timestamps, raw.time_zone
    )
  except pl.exceptions.PolarsError as e:
    # What Polars says may hold rows: nobody is shown it.
    where = raw.explain or _unexplained
    raise ValueError(where(e)) from None
  if frame.is_empty():
    raise ValueError(
      "the log has no events"
      + (f" ({', '.join(raw.sources)})." if raw.sources else ".")
    )
  user, user_ids = ids.codes(frame["user"], null_words=null_words)
  item, item_ids = ids.codes(frame["item"], null_words=null_words)
  _check_lines("user", user, user_ids)
  _check_lines("item", item, item_ids)
  keep, dropped = _complete(
    frame,
    user,
    item,
    drop_missing=drop_missing_timestamps,
    drop_unreadable=drop_unreadable_timestamps,
  )
  action, actions = None, [""]
  if "action" in types:
    action, actions = _actions(frame["action"], raw.actions)
  scene, scenes = None, []
  if "scene" in types:
    scene, scenes = _actions(frame["scene"], None)
  microseconds = None
  if reading is not None and keep.any():
    microseconds, unknown = event_times.microseconds(
      frame["timestamp"],
      keep,
      reading.unit or raw.timestamp_unit,
      drop_unknown=drop_unreadable_timestamps,
    )
    if unknown.any():
      keep &= ~unknown
      dropped[UNKNOWN_TIME] = int(unknown.sum())
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
    scene=scene,
    scenes=scenes,
  )
  return (events if keep.all() else events.take(keep)), len(frame), dropped


def _collect(
  log: pl.LazyFrame, types: Types, drop_unreadable: bool, zone: str
) -> tuple[pl.DataFrame, times.Reading | None]:
  """The columns as codes and numbers, and how times were read."""
  wanted, marks = [], []
  for name in ("user", "item", "action", "request", "scene"):
    if name in types:
      wanted.append(ids.interned(name, types).alias(name))
      wrong = ids.not_whole(name, types)
      if wrong is not None:
        marks.append(wrong.fill_null(False).alias(f"bad {name}"))
  for name, dtype in (("value", pl.Float32), ("order", pl.Int64)):
    if name in types:
      number = pl.col(name).cast(dtype, strict=False)
      if dtype.is_float():
        number = pl.when(~number.is_infinite()).then(number)
      elif types[name].is_float():
        whole = pl.col(name) == pl.col(name).floor()
        number = pl.when(whole).then(number)
      wanted.append(number.alias(name))
      marks.append(_unread(name, types, number).alias(f"bad {name}"))
  reading = None
  if "timestamp" in types:
    choices = times.readings("timestamp", types, zone)
    unread = functools.partial(_unread, "timestamp", types)
    reading = event_times.likely(log, choices, unread)
    wanted.append(reading.value.alias("timestamp"))
    marks.append(unread(reading.value).alias("bad timestamp"))
  frame = log.select(*wanted, *marks).collect(engine="streaming")
  if reading is not None and frame["bad timestamp"].any():
    reading, again = event_times.reread(log, choices, unread)
    frame = frame.with_columns(again)
    if frame["bad timestamp"].any() and not drop_unreadable:
      _raise_unreadable(log, "timestamp", frame["bad timestamp"])
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
    present = present & times.is_text(pl.col(name))
  if types[name].is_float():
    present = present & pl.col(name).is_not_nan()
  return present & parsed.is_null()


def _raise_unreadable(log: pl.LazyFrame, name: str, bad: pl.Series) -> None:
  row = int(bad.arg_max())
  value = log.select(name).slice(row, 1).collect().item()
  expected = {
    "timestamp": event_times.EXPECTED,
    "value": "a finite number",
    "order": "a whole number",
  }.get(name, "text or a whole number")
  raise ValueError(
    f"cannot read {short(value)} as {name} in row {row + 1} (rows from 1, the"
    f" header not counted). {int(bad.sum()):,} of {len(bad):,} rows are like"
    f" that. Expected is {expected}."
  )


def _complete(
  frame: pl.DataFrame,
  user: Int[np.ndarray, "E"],
  item: Int[np.ndarray, "E"],
  *,
  drop_missing: bool,
  drop_unreadable: bool,
) -> tuple[np.ndarray, dict[str, int]]:
  """Mask of events with user, item and time, and the others by reason."""
  with_user = user >= 0
  keep = with_user & (item >= 0)
  dropped = {
    NO_USER: int((user == ids.NO_ID).sum()),
    NULL_USER: int((user == ids.NULL_WORD).sum()),
    NO_ITEM: int((with_user & (item == ids.NO_ID)).sum()),
    NULL_ITEM: int((with_user & (item == ids.NULL_WORD)).sum()),
  }
  if "timestamp" in frame.columns and frame["timestamp"].null_count():
    missing = frame["timestamp"].is_null().to_numpy() & keep
    if drop_unreadable:
      unreadable = frame["bad timestamp"].to_numpy() & missing
      missing &= ~unreadable
      keep &= ~unreadable
      dropped[UNREADABLE_TIME] = int(unreadable.sum())
    if missing.any() and not drop_missing:
      raise ValueError(
        f"{int(missing.sum()):,} of {len(frame):,} events have no timestamp,"
        f" the first in row {int(missing.argmax()) + 1}. Drop them"
        " (--config.filter.drop_missing_timestamps=True), or, if the file is"
        " in chronological order, leave all times out"
        " (--config.filter.ignore_timestamps=True)."
      )
    keep &= ~missing
    dropped[NO_TIME] = int(missing.sum())
  return keep, {reason: n for reason, n in dropped.items() if n}


def _check_lines(
  kind: str, codes: Int[np.ndarray, "E"], names: list[str]
) -> None:
  """Refuses ids of several lines: rows that a quote has made one field."""
  wrong = [code for code, name in enumerate(names) if "\n" in name]
  if wrong:
    row = int(np.isin(codes, wrong).argmax()) + 1
    raise ValueError(
      f"the {kind} id of row {row} holds a line break, and an id is one line."
      " In a CSV, a quote that is closed rows later does that: if quotes are"
      " plain text there, set quote='' (--config.data.quote=)."
    )


def _unexplained(error: Exception) -> str:
  return f"cannot read the log ({type(error).__name__})."


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
      f"actions {short(unknown)} are not in the vocabulary"
      f" {short(list(vocabulary))}."
    )
  table = [0, *(1 + vocabulary.index(name) for name in names)]
  return np.array(table, np.int32)[found + 1], ["", *vocabulary]
