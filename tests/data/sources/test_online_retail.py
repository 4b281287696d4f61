# SPDX-License-Identifier: Apache-2.0
"""Invoices: returns, baskets, codes, two files that overlap, local times."""

import datetime
import pathlib

import pandas as pd
import polars as pl
import pytest

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.sources import OnlineRetail
from genrec_jax.data.splits import LeaveOneOut

_II = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID"
_I = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID"
_FIRST = """
1,85123a,WHITE  HEART,6,2010-07-01 10:00:00,2.55,17.0,United Kingdom
1,85123A,WHITE HEART,2,2010-07-01 10:01:00,2.55,17.0,United Kingdom
1,POST,POSTAGE,1,2010-07-01 10:01:00,18.0,17.0,United Kingdom
1,22041,FRAME,3,2010-07-01 10:01:00,0.0,17.0,United Kingdom
2,22041,RECORD FRAME,1,2010-12-01 09:00:00,2.1,,United Kingdom
3,PADS,PADS,1,2010-12-01 09:30:00,0.001,18.0,France
C4,85123A,WHITE HEART,-6,2010-12-02 09:00:00,2.55,17.0,Spain
C4,22041,RECORD FRAME,1,2010-12-02 09:00:00,2.1,17.0,Spain
5,,WHITE HEART,1,2010-12-02 10:00:00,2.55,18.0,France
6,22041,RECORD FRAME,0,2010-12-02 11:00:00,2.1,18.0,France
7,22041,RECORD FRAME,2,2010-12-03 11:00:00,2.1,18.0,France
7,22041,RECORD FRAME,2,2010-12-03 11:00:00,2.1,18.0,France
"""
# The first two are of the file before, one of them without number and code.
_SECOND = """
,,WHITE HEART,-6,2010-12-02 09:00,2.55,17,Spain
7,22041,RECORD FRAME,2,2010-12-03 11:00,2.1,18,France
,PADS,PADS,-1,2010-12-04 12:00,0.001,18,France
8,84029,MUG,1,2010-12-04 12:00,1,18,France
,22041,RECORD FRAME,-1,2010-12-04 12:00,2.1,18,France
"""


def _write(path: pathlib.Path, header: str, rows: str) -> str:
  path.write_text(f"{header},Country\n{rows.strip()}\n")
  return str(path)


@pytest.fixture
def folder(tmp_path):
  # By name the later file comes first.
  folder = tmp_path / "retail"
  folder.mkdir()
  _write(folder / "retail.csv", _I, _SECOND)
  _write(folder / "retail_II.csv", _II, _FIRST)
  return folder


def _rows(raw):
  return raw.events.select("user", "item", "action", "value", "request").rows()


def test_every_row_is_an_event_or_counted(folder):
  raw = OnlineRetail(str(folder)).read()
  assert _rows(raw) == [
    ("17", "85123A", "purchase", 8.0, "1"),
    ("17", "22041", "purchase", 3.0, "1"),
    ("18", "PADS", "purchase", 1.0, "3"),
    ("17", "85123A", "return", 6.0, "C4"),
    ("17", "22041", "return", 1.0, "C4"),
    ("18", "22041", "purchase", 4.0, "7"),
    ("18", "PADS", "return", 1.0, "at 2010-12-04 12:00:00.000000"),
    ("18", "22041", "return", 1.0, "at 2010-12-04 12:00:00.000000"),
    ("18", "84029", "purchase", 1.0, "8"),
  ]
  assert raw.dropped == {
    "row that an earlier file has too": 2,
    "no customer": 1,
    "no stock code": 1,
    "stock code of no product (postage, fees, discounts, samples)": 1,
    "no quantity, or 0": 1,
    "another line of an item of the invoice": 2,
  }
  counts = encode(raw).counts
  assert counts["in"] == 17 == counts["out"] + sum(counts["dropped"].values())
  assert counts["duplicates"] == 0
  # The first text with a price; the first price above 0.
  titles = {item: (title, price) for item, title, price in raw.items.rows()}
  assert titles == {
    "85123A": ("WHITE HEART", 2.55),
    "22041": ("RECORD FRAME", 2.1),
    "PADS": ("PADS", 0.001),
    "84029": ("MUG", 1.0),
  }
  assert dict(raw.users.rows()) == {"17": "United Kingdom", "18": "France"}


def test_an_invoice_is_one_request_at_one_time_in_utc(folder):
  directory = folder.parent / "data"
  prepare(OnlineRetail(str(folder)), LeaveOneOut(), directory)
  histories = Histories(directory)
  one, other = histories[0], histories[1]
  assert one["request"].tolist() == [0, 0, 1, 1]
  assert other["request"].tolist() == [0, 1, 2, 2, 3]
  # In July London is an hour before UTC, in December it is not.
  moment = datetime.datetime(2010, 7, 1, 9, 1, tzinfo=datetime.UTC)
  assert histories.manifest.epoch_seconds == moment.timestamp()
  later = datetime.datetime(2010, 12, 2, 9, tzinfo=datetime.UTC) - moment
  assert one["time"].tolist() == [0, 0] + [later.total_seconds()] * 2
  source = histories.manifest.options["source"]
  assert source["time_zone"] == "Europe/London"


def test_returns_may_be_left_out(folder):
  raw = OnlineRetail(str(folder), returns=False).read()
  assert raw.actions == ["purchase"] and raw.dropped["return"] == 4
  assert set(raw.events["action"]) == {"purchase"}
  # One that never occurs is no action of the data, so nobody asks for it.
  _write(folder / "retail_II.csv", _II, _FIRST.split("C4")[0])
  (folder / "retail.csv").unlink()
  assert OnlineRetail(str(folder)).read().actions == ["purchase"]


@pytest.mark.parametrize("zone", ["Europe/Lodnon", "Europe", "", "localtime"])
def test_an_unknown_zone_is_named_before_anything_is_read(zone):
  with pytest.raises(ValueError, match=f"time_zone='{zone}' is no time zone"):
    OnlineRetail("nowhere", time_zone=zone)


@pytest.mark.parametrize(
  ("old", "new", "said"),
  [
    ("-07-01 10:01", "-13-01 10:01", "line 3.*'InvoiceDate' holds '2010-13-01"),
    ("2010-12-01 09:30:00", "12/1/2010 9:30", "line 7.*'12/1/2010 9:30'"),
    ("2010-12-01 09:30:00", "40513.4", "line 7.*'40513.4'.*a spreadsheet's"),
    (",6,2010", ",six,2010", "line 2.*'Quantity' holds 'six'.*whole number"),
    (",6,2010", ",1.5,2010", "line 2.*'Quantity' holds '1.5'"),
    ("18.0,17", "1e999,17", "line 4.*'Price' holds '1e999'.*expected is a num"),
    ("Customer ID", "Client", "has no column Customer ID or CustomerID"),
  ],
)
def test_a_value_that_is_none_is_told_with_its_line(folder, old, new, said):
  path = folder / "retail_II.csv"
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))
  with pytest.raises(ValueError, match=said) as error:
    OnlineRetail(str(folder)).read()
  assert "retail_II.csv" in str(error.value)


def test_times_that_are_missing_or_before_1970_are_for_the_user_to_drop(folder):
  path = folder / "retail_II.csv"
  text = path.read_text().replace("2010-12-01 09:30:00", "")
  path.write_text(
    text.replace("C4,85123A,WHITE HEART,-6,2010", "C4,85123A,,-6,1900")
  )
  raw = OnlineRetail(str(folder)).read()
  with pytest.raises(ValueError, match="1 of 9 events have no timestamp"):
    encode(raw)
  with pytest.raises(ValueError, match="1 of 8 timestamps are of 1970 or bef"):
    encode(raw, drop_missing_timestamps=True)
  counts = encode(
    raw, drop_missing_timestamps=True, drop_unreadable_timestamps=True
  ).counts
  assert counts["dropped"]["no timestamp"] == 1
  assert (
    counts["dropped"]["timestamp of 1970 or before, others of 1971 or later"]
    == 1
  )
  assert counts["in"] == 17 == counts["out"] + sum(counts["dropped"].values())


def test_an_hour_that_the_clock_skips_is_no_time(folder):
  path = folder / "retail_II.csv"
  path.write_text(
    path.read_text().replace("2010-12-01 09:30", "2010-03-28 01:30")
  )
  with pytest.raises(ValueError, match="2010, 3, 28, 1, 30.* as timestamp"):
    encode(OnlineRetail(str(folder)).read())
  encode(OnlineRetail(str(folder), time_zone="Europe/Paris").read())


def test_what_is_missing_is_named(tmp_path, folder):
  with pytest.raises(ValueError, match="needs path=.*Save each sheet"):
    OnlineRetail().read()
  (tmp_path / "empty").mkdir()
  book = tmp_path / "empty/online_retail_II.xlsx"
  book.write_bytes(b"PK")
  with pytest.raises(ValueError, match="holds no CSV .* online_retail_II.xlsx"):
    OnlineRetail(str(tmp_path / "empty")).read()
  with pytest.raises(ValueError, match="is a workbook. Save each sheet"):
    OnlineRetail(str(book)).read()
  for path in folder.iterdir():
    _write(path, _I, "1,POST,POSTAGE,1,2010-07-01 10:01,18.0,17.0,Spain")
  with pytest.raises(ValueError, match="of 2 rows none remains: 1 row that an"):
    OnlineRetail(str(folder)).read()


def test_parquet_with_types_is_the_same(folder):
  wanted = OnlineRetail(str(folder)).read()
  for path in list(folder.iterdir()):
    table = pl.read_csv(path)
    date, customer = (
      next(c for c in table.columns if c.startswith(name))
      for name in ("InvoiceDate", "Customer")
    )
    form = "%Y-%m-%d %H:%M" + ":%S" * (path.name == "retail_II.csv")
    table.with_columns(
      pl.col(date).str.to_datetime(form),
      pl.col(customer).cast(pl.Float64),
    ).write_parquet(path.with_suffix(".parquet"))
    path.unlink()
  got = OnlineRetail(str(folder)).read()
  assert got.events.equals(wanted.events)
  assert got.items.equals(wanted.items) and got.dropped == wanted.dropped


@pytest.mark.slow
def test_counts_of_the_published_files_are_those_of_pandas(shared):
  folder = shared / "data/online-retail"
  raw = OnlineRetail(str(folder)).read()
  names = {"Customer ID": "CustomerID", "Price": "UnitPrice"}
  parts = [
    pd.read_parquet(folder / name).rename(
      columns={**names, "Invoice": "InvoiceNo"}
    )
    for name in (
      "online_retail_II_2009-2010.parquet",
      "online_retail_2010-2011.parquet",
    )
  ]
  for part in parts:
    part["InvoiceDate"] = pd.to_datetime(part["InvoiceDate"]).astype("M8[us]")
  first, second = parts
  # The first file is whole until it ends: no row of before is new.
  new = second[second["InvoiceDate"] > first["InvoiceDate"].max()]
  assert raw.dropped["row that an earlier file has too"] == 22_523
  assert len(second) - len(new) == 22_523
  rows = pd.concat([first, new])
  known = rows[rows["CustomerID"].notna()]
  assert raw.dropped["no customer"] == len(rows) - len(known) == 235_287
  bought = known[known["Quantity"] > 0]
  assert bought["CustomerID"].nunique() == 5_881
  assert bought["InvoiceNo"].nunique() == 36_975
  assert bought["StockCode"].nunique() == 4_631

  code = known["StockCode"].str.strip().str.upper()
  assert raw.dropped["no stock code"] == code.isna().sum() == 103
  product = code.str[:5].str.isdigit().fillna(False).astype(bool)
  product |= code.isin(["PADS", "SP1002"])
  lines = known[product].assign(code=code[product])
  assert sum(raw.dropped.values()) - raw.dropped[
    "another line of an item of the invoice"
  ] == len(first) + len(second) - len(lines)
  returned = lines["InvoiceNo"].str.startswith("C").fillna(False).astype(bool)
  returned |= lines["Quantity"] < 0
  lines = lines.assign(
    returned=returned,
    request=lines["InvoiceNo"].fillna(lines["InvoiceDate"].astype(str)),
  )
  by = ["CustomerID", "request", "code", "returned"]
  events = lines.groupby(by)["Quantity"].sum().abs().reset_index()
  assert len(events) == len(raw.events) == 783_661
  kept = raw.events.filter(pl.col("action") == "purchase")
  purchases = events[~events["returned"]]
  for column, theirs, count in (
    ("user", "CustomerID", 5_853),
    ("request", "request", 36_597),
    ("item", "code", 4_621),
  ):
    assert kept[column].n_unique() == purchases[theirs].nunique() == count
  assert len(kept) == len(purchases) == 766_150
  assert kept["value"].cast(pl.Float64).sum() == purchases["Quantity"].sum()
  record = encode(raw)
  # An invoice's events lie together, and are of one time.
  for user in range(0, len(record.user_ids), 50):
    history = record.record(user)
    assert (history["request"][1:] >= history["request"][:-1]).all()
    pairs = set(zip(history["request"], history["time"], strict=True))
    assert len(pairs) == len(set(history["request"]))
