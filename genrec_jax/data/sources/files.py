# SPDX-License-Identifier: Apache-2.0
"""The user's own event log: CSV, TSV, Parquet or JSON lines, by column name.

    Files("log.csv.gz", user="visitor", item="sku", timestamp="ts")
    Files("events-*.parquet", user="uid", item="iid", timestamp="", order="n")
    Files("sessions.jsonl", user="session", nested="events", item="aid",
          timestamp="ts", action="type")

One event a row, or, with `nested`, one session a line with a list of events.
See data/sources/tables.py for formats, data/ids.py and data/times.py for what
ids and times may be. Titles and attributes of items come from columns of the
log (the first value that is there) or from an item file of its own, those of
users from a user file; column_types.py says what types attributes have.
"""

from collections.abc import Sequence
import dataclasses

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.data import schema, zones
from genrec_jax.data.action_log import ActionLog
from genrec_jax.data.sources import column_types, signals, tables

_ROLES = (
  "user",
  "item",
  "timestamp",
  "action",
  "value",
  "request",
  "order",
)
# Text where '' means the same as None.
_OPTIONAL = (
  "timestamp",
  "action",
  "value",
  "request",
  "order",
  "title",
  "unit",
  "nested",
  "format",
  "separator",
  "items_title",
)
# Quote characters, where None means the same as '' too.
_QUOTES = ("quote", "items_quote", "users_quote")


def quote_fix(name: str) -> str:
  """How a user says that quotes are plain text, by the option of that name."""
  return f"{name}='' (--config.data.{name}=)"


@dataclasses.dataclass(frozen=True)
class Files:
  """A log in files.

  Attributes:
    path: a file, or a pattern such as "events-*.csv" (read in name order).
    user, item, timestamp, action, value, request: columns; None or '' =
      there is none, which user and item must have. With `nested` they may lie
      in the session or in its events.
    order: column with a whole number that sorts events of equal time, or all
      events where there is no timestamp; None = their order in the file.
    title, attributes: columns of the log that describe the item.
    unit: of the timestamps: 's', 'ms', 'us' or 'ns'; None recognises it.
    time_zone: of times that are dates or text and name none; numbers are
      counted in UTC.
    nested: column with the list of a session's events.
    format: 'csv', 'tsv', 'parquet' or 'jsonl'; None = by the file's name.
    separator: of a CSV; one character, or the word tab.
    columns: names of the columns of a CSV, which then has no header.
    quote, items_quote, users_quote: quote character of a CSV, of the log and
      of the files of items and users; '' or None = quotes are plain text.
    actions: vocabulary in a fixed order; None takes the sorted ones.
    items_path, items_item, items_title, items_attributes: an item file in any
      of the formats, its columns, and which others to keep (None = all).
    items_types: types of attributes, such as "price=float" (text, int, float
      or bool); of others they are those of the file, see column_types.py.
    users_path, users_user, users_attributes, users_types: a user file likewise.
    signals: columns of a log of impressions, each true or above 0 where the
      user did what its name says; they take the place of `action`.
    impressions: actions of a log with a row per action, the weakest first: its
      rows become impressions, and stronger actions on the same item within
      window_hours are their labels (data/action_log.py; visit_minutes too).
  """

  path: str
  user: str = "user"
  item: str = "item"
  timestamp: str | None = "timestamp"
  action: str | None = None
  value: str | None = None
  request: str | None = None
  order: str | None = None
  title: str | None = None
  attributes: Sequence[str] = ()
  unit: str | None = None
  nested: str | None = None
  format: str | None = None
  separator: str | None = None
  columns: Sequence[str] | None = None
  quote: str | None = '"'
  actions: Sequence[str] | None = None
  items_path: str = ""
  items_item: str = "item"
  items_title: str | None = "title"
  items_attributes: Sequence[str] | None = None
  items_types: Sequence[str] = schema.later(())
  items_quote: str | None = schema.later('"')
  users_path: str = schema.later("")
  users_user: str = schema.later("user")
  users_attributes: Sequence[str] | None = schema.later(None)
  users_types: Sequence[str] = schema.later(())
  users_quote: str | None = schema.later('"')
  signals: Sequence[str] = schema.later(())
  impressions: Sequence[str] = schema.later(())
  window_hours: float = schema.later(24.0)
  visit_minutes: float = schema.later(30.0)
  time_zone: str = schema.later(zones.UTC)

  def __post_init__(self):
    # A command line has no None: --config.data.timestamp= gives ''.
    for name in _OPTIONAL:
      object.__setattr__(self, name, getattr(self, name) or None)
    for name in _QUOTES:
      object.__setattr__(self, name, getattr(self, name) or "")
    for name in ("user", "item"):
      if not getattr(self, name):
        raise ValueError(
          f"{name}={getattr(self, name)!r} must name the column of the"
          f" {name} ids."
        )
    if self.user == self.item:
      raise ValueError(f"user and item are both the column {self.user!r}.")
    if self.items_path and (self.title or self.attributes):
      raise ValueError(
        "items are described by columns of the log (title, attributes) or by"
        f" a file (items_path={self.items_path!r}); give one of them."
      )
    if self.unit not in (None, "s", "ms", "us", "ns"):
      raise ValueError(
        f"unit must be 's', 'ms', 'us', 'ns' or None, got {self.unit!r}."
      )
    zones.check(self.time_zone)
    self._types("items")
    self._types("users")
    if self.signals and (self.action or self.impressions):
      raise ValueError(
        f"signals={tuple(self.signals)} say what came of an impression, so that"
        " there is no `action`, nor are there `impressions` to make: drop one."
      )
    if self.impressions and not (self.action and self.timestamp):
      raise ValueError(
        "impressions are made of rows of actions: `action` and `timestamp` must"
        " name their columns."
      )
    self._action_log()

  def read(self) -> schema.RawLog:
    """Opens the log; rows are read later, as a stream.

    Raises:
      ValueError: no such file, an empty or damaged one, a missing column, or an
        attribute that does not fit its declared type.
    """
    roles = {role: getattr(self, role) for role in _ROLES}
    roles = {role: column for role, column in roles.items() if column}
    log = tables.open_table(
      self.path,
      [*roles.values(), *self.signals, *self._described()],
      format=self.format,
      separator=self.separator,
      columns=self.columns,
      quote=self.quote,
      nested=self.nested,
      quote_fix=quote_fix("quote"),
    )
    events = {role: pl.col(column) for role, column in roles.items()}
    if self.signals:
      events["action"] = signals.action_of(log, self.signals)
    return schema.RawLog(
      events=log.rows.select(**events),
      items=self._item_file() if self.items_path else self._items(log),
      users=self._user_file() if self.users_path else None,
      sources=self.checksums(),
      actions=None if self.actions is None else list(self.actions),
      timestamp_unit=self.unit,
      time_zone=self.time_zone,
      explain=log.explain,
      action_log=self._action_log(),
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the log's files and of item and user files."""
    paths = tables.find(self.path)
    for path in (self.items_path, self.users_path):
      if path:
        paths += tables.find(path)
    return checksums.sha256(paths)

  def _action_log(self) -> ActionLog | None:
    if not self.impressions:
      return None
    return ActionLog(
      tuple(self.impressions), self.window_hours, self.visit_minutes
    )

  def _types(self, kind: str) -> dict[str, str]:
    """Declared types of 'items' or 'users'."""
    name = f"{kind}_types"
    return column_types.declared(getattr(self, name), name)

  def _described(self) -> list[str]:
    """Columns of the log that describe the item."""
    return [*([self.title] if self.title else []), *self.attributes]

  def _items(self, log: tables.Table) -> pl.DataFrame:
    described = self._described()
    if not described:
      return pl.DataFrame({"item": [], "title": []})
    firsts = [
      pl.col(name)
      .drop_nulls()
      .first()
      .alias("title" if name == self.title else name)
      for name in described
    ]
    grouped = log.rows.group_by(
      pl.col(self.item).alias("item"), maintain_order=True
    ).agg(firsts)
    rows = dataclasses.replace(log, rows=grouped).collect()
    if self.title:
      column_types.check_title(log, rows, self.title)
    return column_types.typed(log, rows, self.attributes, self._types("items"))

  def _item_file(self) -> pl.DataFrame:
    roles = {"item": self.items_item}
    if self.items_title is not None:
      roles["title"] = self.items_title
    return self._described_by("items", roles)

  def _user_file(self) -> pl.DataFrame:
    return self._described_by("users", {"user": self.users_user})

  def _described_by(self, what: str, roles: dict[str, str]) -> pl.DataFrame:
    """The file of 'items' or 'users': role -> column, and its attributes."""
    path, quote = (getattr(self, f"{what}_{n}") for n in ("path", "quote"))
    attributes = getattr(self, f"{what}_attributes")
    table = tables.open_table(
      path,
      [*roles.values(), *(attributes or ())],
      quote=quote,
      quote_fix=quote_fix(f"{what}_quote"),
    )
    if attributes is None:
      taken = set(roles.values())
      names = table.rows.collect_schema().names()
      attributes = [name for name in names if name not in taken]
    for name in attributes:
      if name in roles:
        raise ValueError(
          f"{path} has a column {name!r}, and its {name} is the column"
          f" {roles[name]!r}: rename the one, or list the columns to keep"
          f" (--config.data.{what}_attributes)."
        )
    wanted = {**roles, **{name: name for name in attributes}}
    rows = table.rows.select(
      pl.col(column).alias(name) for name, column in wanted.items()
    )
    collected = dataclasses.replace(table, rows=rows).collect()
    if "title" in roles:
      column_types.check_title(table, collected, roles["title"])
    return column_types.typed(
      table, collected, list(attributes), self._types(what)
    )
