# SPDX-License-Identifier: Apache-2.0
"""Attributes of items and users have types, in every format of a file."""

import gzip
import json

import polars as pl
import pytest

from genrec_jax.data import LeaveOneOut
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.sources import Files, column_types

CSV = """sku,name,price,size,sold,zip,kind,note,empty,ratio
007,1984,1.5,3,true,00501,a,,,1e3
7,Seven,,4,False,94110,7,"x, y",,NaN
8,,.25,-5,,10001,b,"","",-2.5
"""


def _source(tmp_path, name, text, **options):
  (tmp_path / "log.csv").write_text("user,item\nu,007\nu,7\nu,8\n")
  data = text.encode()
  path = tmp_path / name
  path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
  return Files(
    str(tmp_path / "log.csv"),
    timestamp=None,
    items_path=str(path),
    items_item="sku",
    items_title="name",
    **options,
  )


@pytest.mark.parametrize("name", ["items.csv", "items.tsv", "items.csv.gz"])
def test_a_csv_column_is_what_all_of_its_values_are_written_as(tmp_path, name):
  text = CSV
  if ".tsv" in name:
    text = CSV.replace("x, y", "x; y").replace(",", "\t")
  table = encode(_source(tmp_path, name, text).read()).items
  assert table["item_id"].to_list() == ["007", "7", "8"]
  assert table["title"].to_list() == ["1984", "Seven", ""]
  found = {c.name: (c.dtype, c.to_list()) for c in table[:, 2:]}
  note = "x; y" if ".tsv" in name else "x, y"
  assert found == {
    "price": (pl.Float64, [1.5, None, 0.25]),
    "size": (pl.Int64, [3, 4, -5]),
    "sold": (pl.Boolean, [True, False, None]),
    # A zip code is no number: one of them begins with a zero.
    "zip": (pl.String, ["00501", "94110", "10001"]),
    "kind": (pl.String, ["a", "7", "b"]),
    "note": (pl.String, [None, note, None]),
    "empty": (pl.String, [None, None, None]),
    "ratio": (pl.Float64, [1000.0, None, -2.5]),
  }


def test_json_lines_keep_their_types(tmp_path):
  rows = [
    {"sku": "007", "name": "Bond", "price": 2, "code": "12", "new": True},
    {"sku": "7", "name": None, "price": 2.5, "code": "13", "tags": ["a", "b"]},
    {"sku": 8, "name": "x", "price": None, "code": None, "new": False},
  ]
  text = "\n".join(map(json.dumps, rows))
  table = encode(_source(tmp_path, "items.jsonl", text).read()).items
  assert table["item_id"].to_list() == ["007", "7", "8"]
  assert table["price"].to_list() == [2.0, 2.5, None]
  assert table["price"].dtype == pl.Float64
  # Text that looks like a number is text: the file says so.
  assert table["code"].to_list() == ["12", "13", None]
  assert table["new"].to_list() == [True, None, False]
  assert table["tags"].to_list() == [None, ["a", "b"], None]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_declared_type_wins(tmp_path, form):
  rows = pl.DataFrame(
    {
      "sku": ["007", "7", "8"],
      "name": ["a", "b", "c"],
      "size": ["1", "2.0", None],
      "zip": [501, 94110, None],
      "on": [1, 0, None],
    }
  )
  name = f"items.{form}"
  text = rows.write_csv() if form == "csv" else rows.write_ndjson()
  types = ("size=int", "zip=text", "on=bool")
  source = _source(tmp_path, name, text, items_types=types)
  if form == "parquet":
    rows.write_parquet(tmp_path / name)
  table = encode(source.read()).items
  assert table["size"].to_list() == [1, 2, None]
  assert table["zip"].to_list() == ["501", "94110", None]
  assert table["on"].to_list() == [True, False, None]


@pytest.mark.parametrize(
  ("name", "text", "where"),
  [
    ("items.csv", CSV.replace("-5", "five"), "items.csv, line 4: "),
    ("items.csv.gz", CSV.replace("-5", "five"), "items.csv.gz, line 4: "),
    ("items.csv", CSV.replace("x, y", "x\n\ny\nz").replace("-5", "five"), "7"),
    (
      "items.jsonl",
      '{"sku": 7, "name": "", "size": 1}\n\n'
      '{"sku": 8, "name": "", "size": "five"}\n',
      "items.jsonl, line 3: ",
    ),
  ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path, name, text, where):
  source = _source(tmp_path, name, text, items_types=("size=int",))
  message = f"{where}.*column 'size' is declared as int, and holds 'five'.$"
  with pytest.raises(ValueError, match=message):
    source.read()


@pytest.mark.parametrize(
  ("value", "kind"), [("inf", "float"), ("1.5", "int"), ("maybe", "bool")]
)
def test_an_error_shows_one_value_and_a_short_one(tmp_path, value, kind):
  text = "sku,name,x\n1,a,1\n2,b," + value + "\n3,c," + "y" * 900 + "\n"
  source = _source(tmp_path, "items.csv", text, items_types=(f"x={kind}",))
  with pytest.raises(ValueError, match=f"holds {value!r} .1 more") as error:
    source.read()
  text = text.replace(value, "z" * 900)
  source = _source(tmp_path, "items.csv", text, items_types=(f"x={kind}",))
  with pytest.raises(ValueError, match=r"holds 'z+\.\.\.") as error:
    source.read()
  assert len(str(error.value)) < 300


@pytest.mark.parametrize(
  ("types", "message"),
  [
    (("prize=float",), "'prize', which is no attribute.*mean 'price'"),
    (("sku=int",), "'sku', which is no attribute"),
    (("price=number",), "the type 'number' for 'price'.*bool, float, int"),
    (("price",), "write COLUMN=TYPE"),
    (("price=int", "price=float"), "names 'price' twice"),
  ],
)
def test_declarations_are_checked(tmp_path, types, message):
  with pytest.raises(ValueError, match=message):
    _source(tmp_path, "items.csv", CSV, items_types=types).read()


def test_a_table_of_users_has_types_too(tmp_path):
  (tmp_path / "log.csv").write_text("user,item\n01,a\n01,b\n2,c\n")
  (tmp_path / "users.csv").write_text("who,age,vip\n01,30,true\n2,,false\n")
  source = Files(
    str(tmp_path / "log.csv"),
    timestamp=None,
    users_path=str(tmp_path / "users.csv"),
    users_user="who",
    users_types=("age=float",),
  )
  assert set(source.checksums()) == {"log.csv", "users.csv"}
  users = encode(source.read()).users
  assert users["user_id"].to_list() == ["01", "2"]
  assert users["age"].to_list() == [30.0, None]
  assert users["vip"].to_list() == [True, False]


def test_attributes_in_the_log_have_types(tmp_path):
  path = tmp_path / "log.csv"
  path.write_text("user,item,price\nu,1,\nu,1,2.5\nu,2,x\n")
  options = {"timestamp": None, "attributes": ("price",)}
  table = encode(Files(str(path), **options).read()).items
  assert table["price"].to_list() == ["2.5", "x"]
  with pytest.raises(ValueError, match="log.csv, line 4: column 'price'"):
    Files(str(path), **options, items_types=("price=float",)).read()


def test_what_was_prepared_before_is_still_what_is_asked_for(tmp_path):
  (tmp_path / "log.csv").write_text("user,item\nu,1\nu,2\nu,3\n")
  source = Files(str(tmp_path / "log.csv"), timestamp=None)
  manifest = prepare(source, LeaveOneOut(), tmp_path / "data")
  # The fields that a data set prepared before had.
  assert "users_path" not in manifest.options["source"]
  assert "items_types" not in manifest.options["source"]
  (tmp_path / "users.csv").write_text("user,age\nu,3\n")
  other = Files(
    str(tmp_path / "log.csv"),
    timestamp=None,
    users_path=str(tmp_path / "users.csv"),
    users_types=("age=int",),
  )
  with pytest.raises(ValueError, match="users_types"):
    prepare(other, LeaveOneOut(), tmp_path / "data")


def test_a_number_too_large_for_a_number_is_text():
  column = pl.Series("x", ["1", "12345678901234567890123"])
  assert column_types.guessed(column).to_list() == column.to_list()


@pytest.mark.parametrize(
  ("name", "text"),
  [
    ("items.csv", "sku,name,price\n7,a,1.5\n8,b,-1e400\n"),
    ("items.jsonl", '{"sku": "7", "name": "a", "price": 1.5}\n'
     '{"sku": "8", "name": "b", "price": "-1e400"}\n'),
  ],
)  # fmt: skip
def test_a_number_beyond_float64_is_refused_undeclared_too(
  tmp_path, name, text
):
  if name.endswith("csv"):
    with pytest.raises(ValueError, match="items.csv, line 3: column 'price'"):
      _source(tmp_path, name, text).read()
  with pytest.raises(ValueError, match="declared as float.*'-1e400'"):
    _source(tmp_path, name, text, items_types=("price=float",)).read()
  kept = _source(tmp_path, name, text, items_types=("price=text",)).read()
  assert kept.items["price"].to_list() == ["1.5", "-1e400"]


@pytest.mark.parametrize(
  ("title", "what"), [(["a", "b"], "lists"), ({"en": "a"}, "objects")]
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_titles_that_are_no_text_are_refused(tmp_path, title, what, form):
  rows = [{"sku": "7", "name": title}, {"sku": "8", "name": title}]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  source = _source(tmp_path, f"items.{form}", text)
  if form == "parquet":
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
  said = f"items.{form}: the column 'name' holds {what}, and is the title"
  with pytest.raises(ValueError, match=said):
    source.read()


def test_a_title_in_the_log_is_text(tmp_path):
  path = tmp_path / "log.jsonl"
  path.write_text('{"user": "u", "item": "i", "name": ["a"]}\n')
  source = Files(str(path), timestamp=None, title="name")
  with pytest.raises(ValueError, match="the column 'name' holds lists"):
    source.read()
