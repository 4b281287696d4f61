# SPDX-License-Identifier: Apache-2.0
"""The rows of one file of Online Retail, in one layout and with types.

    invoice_lines("online_retail_II.csv", "Europe/London")

Columns invoice, item, description, customer, country (text; null where there is
none), quantity (int64), price (float64) and time (local, microseconds). Nothing
is left out; a value that is no number or time is an error with its line.
"""

import dataclasses
import os

import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data import ids
from genrec_jax.data.sources import tables
from genrec_jax.data.sources.places import place_of

# Our name -> the publisher's, in both layouts.
_COLUMNS = {
  "invoice": ("Invoice", "InvoiceNo"),
  "item": ("StockCode",),
  "description": ("Description",),
  "quantity": ("Quantity",),
  "time": ("InvoiceDate",),
  "price": ("Price", "UnitPrice"),
  "customer": ("Customer ID", "CustomerID"),
  "country": ("Country",),
}
_TEXT = ("invoice", "item", "description", "customer", "country")
_FORMATS = tuple(
  f"%Y-%m-%d{between}%H:%M{seconds}"
  for between in " T"
  for seconds in (":%S%.f", "")
)


def invoice_lines(path: str | os.PathLike, time_zone: str) -> pl.DataFrame:
  """Reads a file.

  Args:
    path: CSV or Parquet.
    time_zone: of the times; those that name a zone are told in it.

  Raises:
    ValueError: damage, a missing column, or a value that is none.
  """
  table = tables.open_table(path, ())
  there = table.rows.collect_schema().names()
  names = {}
  for ours, theirs in _COLUMNS.items():
    found = [name for name in theirs if name in there]
    if not found:
      raise ValueError(
        f"{path} has no column {' or '.join(theirs)}."
        + choices_hint(theirs[0], there)
      )
    names[ours] = found[0]
  chosen = table.rows.select(pl.col(names[ours]) for ours in names)
  rows = dataclasses.replace(table, rows=chosen).collect()
  columns = {name: _text(rows[names[name]]) for name in _TEXT}
  columns["item"] = columns["item"].str.to_uppercase()
  for name, dtype in (("quantity", pl.Int64), ("price", pl.Float64)):
    columns[name] = _number(table, rows[names[name]], dtype)
  columns["time"] = _time(table, rows[names["time"]], time_zone)
  return pl.DataFrame(columns)


def _text(column: pl.Series) -> pl.Series:
  """One line of text, or null; a whole number has no point."""
  text = column.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
  return ids.canonical(text.set(text.str.to_lowercase() == "nan", None))


def _number(table: tables.Table, column: pl.Series, dtype) -> pl.Series:
  text = _text(column)
  found = text.cast(pl.Float64, strict=False)
  wrong = text.is_not_null() & ~found.is_finite().fill_null(False)
  if dtype == pl.Int64:
    wrong |= found.is_not_null() & (found != found.floor())
  what = "a whole number" if dtype == pl.Int64 else "a number"
  _check(table, column, wrong, f"expected is {what}")
  return found.cast(dtype)


def _time(table: tables.Table, column: pl.Series, time_zone: str) -> pl.Series:
  dtype = column.dtype
  if isinstance(dtype, pl.Datetime) and dtype.time_zone:
    local = column.dt.convert_time_zone(time_zone).dt.replace_time_zone(None)
    return local.cast(pl.Datetime("us"))
  if isinstance(dtype, pl.Datetime | pl.Date):
    return column.cast(pl.Datetime("us"))
  expected = (
    "expected is a date and time such as 2009-12-01 07:45:00; a spreadsheet's"
    " own numbers and dates such as 12/1/2009 are not told apart from others"
  )
  text = _text(column)
  if dtype != pl.String:
    _check(table, column, text.is_not_null(), expected)
  found = pl.select(
    pl.coalesce(
      pl.lit(text).str.strptime(pl.Datetime("us"), form, strict=False)
      for form in _FORMATS
    )
  ).to_series()
  missing = text.str.to_lowercase().is_in(["nat", *ids.NULL_WORDS])
  wrong = found.is_null() & text.is_not_null() & ~missing.fill_null(False)
  _check(table, column, wrong, expected)
  return found


def _check(
  table: tables.Table, column: pl.Series, wrong: pl.Series, expected: str
) -> None:
  """Raises where a value is wrong, with its place."""
  if not wrong.any():
    return
  row = int(wrong.arg_max())
  text = str(column[row])
  more = int(wrong.sum()) - 1
  raise ValueError(
    f"{place_of(table, column.name, text, row)}: column {column.name!r} holds"
    f" {short(text)}; {expected}."
    + (f" {more:,} more rows are like that." if more else "")
  )
