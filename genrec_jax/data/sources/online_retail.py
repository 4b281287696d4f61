# SPDX-License-Identifier: Apache-2.0
"""Online Retail I and II: invoices of a wholesaler, December 2009 to 2011.

    OnlineRetail("folder")      all CSV and Parquet files in it, or a pattern

One file per sheet of the publisher's workbooks, in either layout of columns
(InvoiceNo, UnitPrice, CustomerID; Invoice, Price, Customer ID). Read so:

- an invoice is a request; lines without a number are one by customer and time;
- a line of a cancelled invoice (its number begins with C) or of a negative
  quantity is a "return", every other a "purchase"; value = the quantity;
- lines of one item in one invoice are one event, their quantities added;
- an item is its stock code in capitals. Codes of postage, fees, discounts and
  samples are none: a product's begins with five digits, or is one of PRODUCTS;
- rows that an earlier file has too (the files share nine days of December 2010)
  are told by customer, time, description, quantity and price;
- times are local, to the minute; an invoice has that of its last line, and no
  order within.

The first description and price above 0 of a code are its title and price, the
first country of a customer an attribute of users. Every row that is no event is
counted by reason.

Source: D. Chen, Online Retail and Online Retail II, UCI Machine Learning
Repository, 2015 and 2019; CC BY 4.0.
"""

import dataclasses
import datetime
import pathlib

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.data import schema, zones
from genrec_jax.data.sources import tables
from genrec_jax.data.sources.invoice_lines import invoice_lines

ACTIONS = ("purchase", "return")
# Beginnings of products' codes that are no five digits.
PRODUCTS = ("DCGS", "PADS", "SP1")
_PRODUCT = rf"^(\d{{5}}|{'|'.join(PRODUCTS)})"
_SAME = ("customer", "time", "description", "quantity", "price")
# Lines of one invoice were entered within minutes.
_ONE_INVOICE = datetime.timedelta(hours=1)
_ENDINGS = (".csv", ".csv.gz", ".parquet")


@dataclasses.dataclass(frozen=True)
class OnlineRetail:
  """The invoices of customers.

  Attributes:
    path: the folder of the files, or a file or pattern.
    time_zone: of the times.
    returns: keep returns; otherwise they are dropped and counted.
  """

  path: str = ""
  time_zone: str = "Europe/London"
  returns: bool = True

  def __post_init__(self):
    zones.check(self.time_zone)

  def read(self) -> schema.RawLog:
    """Reads all invoices.

    Raises:
      ValueError: no such file, damage, a missing column, a time, quantity or
        price that is none (with file and line), or no event that remains.
    """
    files = [invoice_lines(p, self.time_zone) for p in self._files()]
    # Of rows in two files those of the file that begins first stay.
    files.sort(key=lambda lines: lines["time"].min() or datetime.datetime.max)
    rows = pl.concat(
      [lines.with_columns(file=pl.lit(i)) for i, lines in enumerate(files)]
    )
    lines, dropped = self._lines(rows)
    if lines.is_empty():
      reasons = ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())
      raise ValueError(f"of {rows.height:,} rows none remains: {reasons}.")
    events = _events(lines)
    merged = lines.height - events.height
    if merged:
      dropped["another line of an item of the invoice"] = merged
    there = set(events["action"].unique())
    return schema.RawLog(
      events=events,
      items=_items(lines),
      users=lines.sort("time", maintain_order=True, nulls_last=True)
      .group_by("customer", maintain_order=True)
      .agg(pl.col("country").drop_nulls().first())
      .rename({"customer": "user"}),
      sources=self.checksums(),
      dropped=dropped,
      actions=[name for name in ACTIONS if name in there],
      time_zone=self.time_zone,
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the files."""
    return checksums.sha256(self._files())

  def _files(self) -> list[pathlib.Path]:
    fix = (
      " Save each sheet of the publisher's workbooks as a CSV or Parquet file"
      " in one folder, and give that as path=."
    )
    if not self.path:
      raise checksums.MissingSource(f"OnlineRetail needs path=.{fix}")
    folder = pathlib.Path(self.path)
    if not folder.is_dir():
      found = tables.find(self.path)
    else:
      found = sorted(p for p in folder.iterdir() if p.name.endswith(_ENDINGS))
      if not found:
        there = ", ".join(sorted(p.name for p in folder.iterdir()))
        raise checksums.MissingSource(
          f"{folder} holds no CSV or Parquet file; it holds"
          f" {there or 'nothing'}.{fix}"
        )
    for path in found:
      if path.suffix in (".xlsx", ".xls"):
        raise ValueError(f"{path} is a workbook.{fix}")
    return found

  def _lines(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Lines of customers' invoices that are of products, and the others."""
    nth = pl.int_range(pl.len()).over("file", *_SAME)
    rows = rows.with_columns(nth=nth)
    again = pl.col("file") > pl.col("file").min().over(*_SAME, "nth")
    number = pl.col("invoice").fill_null("")
    returned = number.str.starts_with("C") | (pl.col("quantity") < 0)
    dropped = {}
    for reason, wrong in (
      ("row that an earlier file has too", again),
      ("no customer", pl.col("customer").is_null()),
      ("no stock code", pl.col("item").is_null()),
      (
        "stock code of no product (postage, fees, discounts, samples)",
        ~pl.col("item").str.contains(_PRODUCT),
      ),
      ("no quantity, or 0", pl.col("quantity").fill_null(0) == 0),
      ("return", returned if not self.returns else pl.lit(False)),
    ):
      left = rows.remove(wrong)
      if left.height < rows.height:
        dropped[reason] = rows.height - left.height
      rows = left
    action = (
      pl.when(returned).then(pl.lit("return")).otherwise(pl.lit("purchase"))
    )
    # A line without a number is of what its customer did at that time.
    alone = pl.format("at {}", pl.col("time").cast(pl.String).fill_null(""))
    rows = rows.with_columns(
      action=action, request=pl.coalesce("invoice", alone)
    ).with_row_index("row")
    one = ("customer", "request")
    last = pl.col("time").max().over(one)
    near = last - pl.col("time") <= _ONE_INVOICE
    rows = rows.with_columns(
      time=pl.when(near).then(last).otherwise("time"),
      begins=pl.col("row").min().over(one),
    )
    return rows.sort("begins", maintain_order=True), dropped


def _events(lines: pl.DataFrame) -> pl.DataFrame:
  """One event for each item of a request, in the order of the first lines."""
  return (
    lines.group_by("customer", "item", "action", "request", maintain_order=True)
    .agg(pl.col("time").first(), pl.col("quantity").sum().abs())
    .select(
      user="customer",
      item="item",
      timestamp="time",
      action="action",
      value=pl.col("quantity").cast(pl.Float32),
      request="request",
    )
  )


def _items(lines: pl.DataFrame) -> pl.DataFrame:
  """Title and price of every code, the first that were."""
  text = pl.col("description")
  sold = pl.col("price") > 0
  first = [
    text.filter(sold & text.is_not_null()).first(),
    text.drop_nulls().first(),
  ]
  return (
    lines.sort("time", maintain_order=True, nulls_last=True)
    .group_by("item", maintain_order=True)
    .agg(
      pl.coalesce(first).alias("title"),
      pl.col("price").filter(sold).first(),
    )
  )
