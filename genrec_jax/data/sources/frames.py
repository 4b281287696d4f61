# SPDX-License-Identifier: Apache-2.0
"""DataFrames as files, and what their columns are, by the usual names.

    table = as_polars(events)
    roles = guess_columns(table.columns, EVENT_ROLES, {"item": "sku"})
    write_frame(table, folder / "events.parquet")

A frame becomes a Parquet file, and sources.Files reads it: same checks, same
errors, and a data set that is the same whether it came as a frame or as a file.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

import polars as pl

from genrec_jax.core import atomic
from genrec_jax.core.checksums import sha256
from genrec_jax.core.suggest import choices_hint, short

# By role, what columns are usually called; the first that is there is taken.
EVENT_ROLES: Mapping[str, Sequence[str]] = {
  "user": (
    *("user", "user_id", "userid", "uid", "visitor", "visitor_id", "visitorid"),
    *("customer", "customer_id", "customerid", "session", "session_id"),
    *("reviewer_id", "reviewerid", "member_id", "account_id"),
  ),
  "item": (
    *("item", "item_id", "itemid", "iid", "sku", "product", "product_id"),
    *("productid", "stock_code", "stockcode", "article_id", "asin", "movie_id"),
    *("movieid", "video_id", "track_id", "song_id", "content_id", "aid"),
  ),
  "timestamp": (
    *("timestamp", "time", "ts", "datetime", "date", "event_time", "when"),
    *("created_at", "invoice_date", "invoicedate", "unix_review_time"),
    *("unixreviewtime", "t_dat"),
  ),
  "action": ("action", "event", "event_type", "type", "behavior"),
}
ITEM_ROLES: Mapping[str, Sequence[str]] = {
  "item": EVENT_ROLES["item"],
  "title": ("title", "name", "item_name", "product_name", "description"),
}
_NEEDED = ("user", "item")


def guess_columns(
  names: Sequence[str],
  roles: Mapping[str, Sequence[str]],
  given: Any = None,
  *,
  argument: str = "columns",
) -> dict[str, str]:
  """The column of each role that there is one for.

  Args:
    names: columns of a table.
    roles: usual names by role, EVENT_ROLES or ITEM_ROLES.
    given: role -> column, for columns that the caller named.
    argument: what the caller calls that, for errors.

  Raises:
    ValueError: no mapping, a column that is named and not there, an unknown
      role, two roles of one column, or a user or item that nothing is known of
      (names what was looked for).
  """
  if not isinstance(given, Mapping | None):
    raise ValueError(
      f"{argument}={short(given)} must be roles and their columns, such as"
      ' {"user": "who"}.'
    )
  given = dict(given or {})
  for role, column in given.items():
    if role not in roles:
      raise ValueError(
        f"{argument} names the role {short(role)}; roles are"
        f" {', '.join(roles)}."
      )
    if column not in names:
      raise ValueError(
        f"{argument} says {role}={short(column)}, which is no column."
        + choices_hint(column, names)
      )
  twice = [c for c in given.values() if list(given.values()).count(c) > 1]
  if twice:
    raise ValueError(f"{argument} gives two roles to {short(twice[0])}.")
  plain = {_plain(name): name for name in reversed(names)}
  found = {}
  for role, usual in roles.items():
    known = [plain[_plain(n)] for n in usual if _plain(n) in plain]
    known = [name for name in known if name not in given.values()]
    column = given.get(role, known[0] if known else None)
    if column is not None:
      found[role] = column
    elif role in _NEEDED:
      raise ValueError(
        f"no column looks like the {role} (looked for {', '.join(usual[:6])},"
        f' ...). Say which it is: {argument}={{"{role}": ...}}.'
        + choices_hint("", names)
      )
  return found


def write_frame(
  table: pl.DataFrame, path: str | os.PathLike, *, replace: bool = True
) -> None:
  """Writes a table as Parquet.

  Args:
    table: the table.
    path: of the file.
    replace: whether it may take the place of another table.

  Raises:
    ValueError: another one is there, which stays.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic.replacing(path) as temporary:
    table.write_parquet(temporary)
    if not replace and path.exists():
      before, now = (list(sha256([p]).values()) for p in (path, temporary))
      if before != now:
        raise ValueError(
          f"{path} holds another table, of which the data beside it were"
          " made: use another workdir."
        )


def as_polars(frame: Any) -> pl.DataFrame:
  """A table with the columns that files have.

  Ids of a dictionary become text, times with a zone are told in UTC, and an
  index is left out.

  Args:
    frame: a Polars DataFrame or LazyFrame, or a pandas DataFrame.

  Raises:
    ValueError: another type, no rows, column names that repeat, or a column
      of objects that are no values of one type.
  """
  if isinstance(frame, pl.LazyFrame):
    table = collected(frame)
  elif isinstance(frame, pl.DataFrame):
    table = frame
  elif (type(frame).__module__.partition(".")[0], type(frame).__name__) == (
    "pandas",
    "DataFrame",
  ):
    table = _of_pandas(frame)
  else:
    raise ValueError(
      f"a {type(frame).__module__}.{type(frame).__qualname__} is no table: give"
      " a Polars or pandas DataFrame, or the path of a file."
    )
  if not len(table):
    raise ValueError("the table has no rows.")
  for name, dtype in table.schema.items():
    # An extension is a period or an interval of pandas: a number underneath.
    if dtype == pl.Object or isinstance(dtype, pl.BaseExtension):
      raise ValueError(_mixed(name))
  return table.with_columns(
    # An id is its text, not its place in a dictionary.
    pl.col(pl.Categorical, pl.Enum).cast(pl.String),
  ).with_columns(
    pl.col(name).dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    for name, dtype in table.schema.items()
    if isinstance(dtype, pl.Datetime) and dtype.time_zone
  )


def collected(frame: pl.LazyFrame) -> pl.DataFrame:
  """The rows of a LazyFrame.

  Raises:
    ValueError: it cannot be collected.
  """
  try:
    return frame.collect()
  except (pl.exceptions.PolarsError, OSError) as e:
    raise ValueError(
      f"the LazyFrame cannot be collected ({type(e).__name__}); call its"
      " collect() to see why."
    ) from None


def _of_pandas(frame: Any) -> pl.DataFrame:
  names = [str(name) for name in frame.columns]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f"the columns {short(', '.join(twice))} are there twice.")
  # Whatever its index is, rows are rows.
  frame = frame.set_axis(names, axis=1).reset_index(drop=True)
  columns = {}
  for name in names:
    try:
      columns[name] = pl.from_pandas(frame[name])
    except Exception:
      # Arrow, NumPy and Polars each raise their own, and may show rows.
      raise ValueError(_mixed(name)) from None
  return pl.DataFrame(columns)


def _mixed(name: str) -> str:
  return (
    f"column {short(name)} holds objects of several types, or of none that a"
    " file could hold: make it text, as with astype(str), or leave it out."
  )


def _plain(name: str) -> str:
  """userId, user_id and "User ID" are one name."""
  return "".join(c for c in name.lower() if c.isalnum())
