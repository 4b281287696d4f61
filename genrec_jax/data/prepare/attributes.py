# SPDX-License-Identifier: Apache-2.0
"""Tables of items and users, joined to the ids that the log has.

    rows, counts = of_items(item_ids, raw.items, keep_unseen=False)
    rows, counts = of_users(user_ids, raw.users)

Row i of a result belongs to id i; an id without a row gets nulls. Of rows that
repeat an id the first counts. `counts` says what did not match; the manifest
keeps it. Whoever reads an attribute takes its `scalars`.
"""

import polars as pl

from genrec_jax.data import ids

# Columns that the prepared tables have of their own.
_OF_ITEMS = ("index", "item_id", "count")
_OF_USERS = ("user_id", "events")


def of_items(
  item_ids: list[str],
  items: pl.DataFrame,
  *,
  keep_unseen: bool,
  null_words: bool = True,
) -> tuple[pl.DataFrame, dict[str, int]]:
  """Columns item_id, title ('' where there is none) and attributes.

  Args:
    item_ids: of the log, in index order.
    items: column item and attributes.
    keep_unseen: append the rows of items that the log lacks.
    null_words: whether words for a missing value are no ids (data/ids.py).

  Raises:
    ValueError: no column item, a column of a name that is taken, ids that are
      not whole numbers, or titles that are no text.
  """
  rows, counts = _joined(
    "item", item_ids, items, _OF_ITEMS, keep_unseen, null_words
  )
  if "title" not in rows.columns:
    rows = rows.with_columns(title=pl.lit(""))
  if rows.schema["title"].is_nested():
    raise ValueError(
      f"the column 'title' of the item table has the type"
      f" {rows.schema['title']}; titles must be text."
    )
  rows = rows.with_columns(pl.col("title").cast(pl.String).fill_null(""))
  others = [c for c in rows.columns if c not in ("item_id", "title")]
  return rows.select("item_id", "title", *others), counts


def of_users(
  user_ids: list[str], users: pl.DataFrame, *, null_words: bool = True
) -> tuple[pl.DataFrame, dict[str, int]]:
  """Column user_id and attributes; arguments and errors as of_items."""
  return _joined("user", user_ids, users, _OF_USERS, False, null_words)


def scalars(column: pl.Series) -> pl.Series:
  """One value a row: a list as one text, NaN as null."""
  if isinstance(column.dtype, pl.List):
    return column.cast(pl.List(pl.String)).list.join("|")
  return column.fill_nan(None) if column.dtype.is_float() else column


def _joined(
  kind: str,
  names: list[str],
  table: pl.DataFrame,
  reserved: tuple[str, ...],
  keep_unseen: bool,
  null_words: bool,
) -> tuple[pl.DataFrame, dict[str, int]]:
  """Rows in the order of names, then the unseen; and what did not match."""
  taken = [name for name in reserved if name in table.columns]
  if kind not in table.columns or taken:
    raise ValueError(
      f"the {kind} table has the columns {', '.join(table.columns)}; it needs"
      f" {kind!r}, and {', '.join(reserved)} are taken: rename"
      f" {', '.join(taken) or 'the id column'}."
    )
  wrong = ids.not_whole(kind, table.schema)
  if wrong is not None and table.select(wrong.fill_null(False).any()).item():
    raise ValueError(f"the {kind} table has ids that are not whole numbers.")
  key = f"{kind}_id"
  interned = table.select(ids.interned(kind, table.schema))[kind]
  text = ids.canonical(interned.cast(pl.String)).alias(key)
  with_id = table.drop(kind).with_columns(text).filter(text.is_not_null())
  if null_words:
    with_id = with_id.remove(ids.is_null_word(pl.col(key)))
  unique = with_id.unique(key, keep="first", maintain_order=True)
  seen = pl.DataFrame({key: names}, schema={key: pl.String})
  missing = seen.join(unique, on=key, how="anti").height
  unseen = unique.join(seen, on=key, how="anti").select(key)
  if keep_unseen:
    seen = pl.concat([seen, unseen])
  rows = seen.join(unique, on=key, how="left", maintain_order="left")
  return rows, {
    "rows": table.height,
    "rows_without_id": table.height - with_id.height,
    "duplicate_rows": with_id.height - unique.height,
    f"{kind}s_without_row": missing,
    f"unseen_{kind}s": unseen.height,
  }
