# SPDX-License-Identifier: Apache-2.0
"""One log in every format is one data set; damaged files are named."""

import dataclasses
import gzip
import json

import polars as pl
import pytest

from genrec_jax.data import GlobalTime, LeaveOneOut
from genrec_jax.data.dataset import Catalog, Histories
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.sources import Files

LOG = pl.DataFrame(
  {
    "who": ["u1", "u2", "u1", "u1"],
    "what": ["007", "7", "a,b", 'say "x"'],
    "when": [1_420_070_400_000, 1_420_070_401_500, 1_420_070_402_000, 10**12],
    "kind": ["view", "buy", None, "view"],
    "paid": [None, 2.5, None, 1.0],
    "basket": ["s1", "s1", "s1", "s2"],
    "name": [None, "seven", "AB", None],
    "brand": ["x", "y", None, None],
  }
)
ROLES = {
  "user": "who",
  "item": "what",
  "timestamp": "when",
  "action": "kind",
  "value": "paid",
  "request": "basket",
  "title": "name",
  "attributes": ("brand",),
}


def _write(path):
  name = path.name.removesuffix(".gz")
  if name.endswith(".parquet"):
    LOG.write_parquet(path)
    return path
  if name.endswith(".jsonl"):
    text = LOG.write_ndjson()
  else:
    separator = "\t" if name.endswith(".tsv") else ","
    text = LOG.write_csv(separator=separator)
  data = text.encode()
  path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
  return path


@pytest.mark.parametrize(
  "name",
  [
    "log.csv",
    "log.csv.gz",
    "log.tsv",
    "log.tsv.gz",
    "log.parquet",
    "log.jsonl",
    "log.jsonl.gz",
  ],
)
def test_every_format_gives_the_same_sequences(tmp_path, name):
  path = _write(tmp_path / name)
  source = Files(str(path), **ROLES)
  sequences = encode(source.read())
  assert sequences.user_ids == ["u1", "u2"]
  assert sequences.items["item_id"].to_list() == ['say "x"', "007", "7", "a,b"]
  assert sequences.items["title"].to_list() == ["", "", "seven", "AB"]
  assert sequences.items["brand"].to_list() == [None, "x", "y", None]
  assert sequences.actions == ["", "buy", "view"]
  first = sequences.record(0)
  assert first["item"].tolist() == [1, 2, 4]
  assert first["time"].tolist() == [0, 420_070_400, 420_070_402]
  assert first["action"].tolist() == [2, 2, 0]
  assert first["request"].tolist() == [0, 1, 1]
  assert first["value"][0] == 1.0
  assert list(source.checksums()) == [name]


def test_a_pattern_reads_files_in_name_order(tmp_path):
  for part in (2, 1, 3):
    rows = f"user,item\nu,{part}\n"
    (tmp_path / f"log-{part}.csv").write_text(rows)
  source = Files(str(tmp_path / "log-*.csv"), timestamp=None)
  sequences = encode(source.read())
  assert sequences.items["item_id"].to_list() == ["1", "2", "3"]
  assert len(source.checksums()) == 3


def test_text_without_a_header_or_with_another_separator(tmp_path):
  path = tmp_path / "log.txt"
  path.write_text("u;7;5\nu;8;6\n")
  source = Files(
    str(path),
    format="csv",
    separator=";",
    columns=("user", "item", "timestamp"),
  )
  assert encode(source.read()).items["item_id"].to_list() == ["7", "8"]


def test_json_ids_may_change_type_and_keys_may_come_late(tmp_path):
  path = tmp_path / "log.jsonl"
  rows = [{"user": 1, "item": n} for n in range(1200)]
  rows += [{"user": "1", "item": 5.0, "value": 3}, {"user": 1.0, "item": "x"}]
  path.write_text("\n".join(map(json.dumps, rows)))
  source = Files(str(path), timestamp=None, value="value")
  sequences = encode(source.read())
  assert sequences.user_ids == ["1"]
  assert len(sequences.items) == 1201
  assert sequences.fields["value"][1200] == 3


def test_sessions_with_a_nested_list_become_events(tmp_path):
  sessions = [
    {"id": 1, "geo": "x", "events": [{"i": 7, "t": 5}, {"i": 8, "t": 6}]},
    {"id": 2, "geo": "y", "events": []},
    {"id": 3, "geo": "z", "events": [{"i": 7, "t": 9, "type": "buy"}]},
    {"id": 4, "geo": "z"},
  ]
  path = tmp_path / "log.jsonl"
  path.write_text("\n".join(map(json.dumps, sessions)))
  roles = {"user": "id", "item": "i", "timestamp": "t", "action": "type"}
  sequences = encode(Files(str(path), nested="events", **roles).read())
  assert sequences.user_ids == ["1", "3"]
  # A session without events is no event.
  assert sequences.counts["in"] == 3
  assert sequences.fields["item"].tolist() == [1, 2, 1]
  assert sequences.fields["action"].tolist() == [0, 0, 1]
  pl.read_ndjson(path).write_parquet(tmp_path / "log.parquet")
  parquet = Files(str(tmp_path / "log.parquet"), nested="events", **roles)
  same = encode(parquet.read())
  assert same.fields["item"].tolist() == sequences.fields["item"].tolist()
  with pytest.raises(ValueError, match="nested='geo' must be a list of events"):
    Files(str(path), nested="geo", **roles).read()


@pytest.mark.parametrize("name", ["items.csv", "items.jsonl", "items.parquet"])
def test_an_item_file_gives_titles_and_attributes(tmp_path, name):
  log, path = tmp_path / "log.csv", tmp_path / name
  log.write_text("user,item\nu,007\nu,2\nu,3\n")
  items = pl.DataFrame(
    {
      "sku": ["2", "007", "9"],
      "label": ["Two", "Bond", "Nine"],
      "price": [1, 2, 3],
      "colour": ["r", "g", "b"],
    }
  )
  if name.endswith(".csv"):
    items.write_csv(path)
  elif name.endswith(".jsonl"):
    items.write_ndjson(path)
  else:
    items.write_parquet(path)
  roles = {"items_item": "sku", "items_title": "label"}
  source = Files(str(log), timestamp=None, items_path=str(path), **roles)
  table = encode(source.read()).items
  assert table["title"].to_list() == ["Bond", "Two", ""]
  assert table["price"].to_list() == [2, 1, None]
  assert table["colour"].to_list() == ["g", "r", None]
  assert set(source.checksums()) == {"log.csv", name}
  narrow = Files(
    str(log),
    timestamp=None,
    items_path=str(path),
    items_attributes=("price",),
    **roles,
  )
  assert encode(narrow.read()).items.columns == ["item_id", "title", "price"]


@pytest.mark.parametrize("name", ["item", "title"])
def test_a_column_of_a_roles_name_takes_no_place_of_it(tmp_path, name):
  (tmp_path / "log.csv").write_text("user,item\nu,a\n")
  (tmp_path / "items.csv").write_text(f"sku,{name},label\na,z,Bond\n")
  source = Files(
    str(tmp_path / "log.csv"),
    timestamp=None,
    items_path=str(tmp_path / "items.csv"),
    items_item="sku",
    items_title="label",
  )
  with pytest.raises(ValueError, match=f"column '{name}', and its {name} is"):
    source.read()
  kept = dataclasses.replace(source, items_attributes=())
  assert encode(kept.read()).items["title"].to_list() == ["Bond"]


def test_the_log_or_a_file_describes_items_not_both():
  with pytest.raises(ValueError, match="give one of them"):
    Files("log.csv", title="name", items_path="items.csv")


def test_a_missing_column_is_named_with_what_is_there(tmp_path):
  path = _write(tmp_path / "log.csv")
  message = "no column 'hwo'. Did you mean 'who'.* Choices: basket, brand, kind"
  with pytest.raises(ValueError, match=message):
    Files(str(path), **{**ROLES, "user": "hwo"}).read()
  items = tmp_path / "items.csv"
  items.write_text("sku,label\n1,One\n")
  with pytest.raises(ValueError, match="items.csv has no column 'item'"):
    Files(str(path), "who", "what", "when", items_path=str(items)).read()


@pytest.mark.parametrize("separator", ["\t", r"\t", "tab"])
def test_a_tab_is_given_as_a_command_line_can(separator, tmp_path):
  path = tmp_path / "log.txt"
  path.write_text("user\titem\nu\t7\nu\t8\n")
  given = {"format": "csv", "separator": separator, "timestamp": None}
  table = Files(str(path), **given).read().events.collect()
  assert table.rows() == [("u", "7"), ("u", "8")]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_an_empty_file_is_named(tmp_path, name):
  (tmp_path / name).write_bytes(b"")
  with pytest.raises(ValueError, match=f"{name} is empty"):
    Files(str(tmp_path / name)).read()


def test_a_header_without_rows_has_no_events(tmp_path):
  (tmp_path / "log.csv").write_text("user,item,timestamp\n")
  with pytest.raises(ValueError, match="no events .log.csv"):
    encode(Files(str(tmp_path / "log.csv")).read())


@pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.gz"])
def test_a_truncated_gzip_is_named(tmp_path, name):
  path = _write(tmp_path / name)
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(ValueError, match=f"{name} is truncated or damaged"):
    Files(str(path), **ROLES).read()
  path.write_text("user,item\n")
  with pytest.raises(ValueError, match=f"{name} is truncated or damaged"):
    Files(str(path), **ROLES).read()


def test_a_truncated_parquet_is_named(tmp_path):
  path = _write(tmp_path / "log.parquet")
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(ValueError, match="cannot read .*log.parquet"):
    Files(str(path), **ROLES).read()


@pytest.mark.parametrize("after", [1, 3000])
def test_a_broken_json_line_is_named(tmp_path, after):
  path = tmp_path / "log.jsonl"
  good = '{"user": 1, "item": 2}\n'
  for bad in ('{"user": 1, "it', "[1, 2]"):
    path.write_text(good * after + bad)
    with pytest.raises(ValueError, match=f"line {after + 1} of .*log.jsonl is"):
      encode(Files(str(path), timestamp=None).read())


def test_text_that_is_not_utf8_or_not_rectangular_says_so(tmp_path):
  path = tmp_path / "log.csv"
  path.write_bytes("user,item\nu,café\n".encode("latin-1"))
  with pytest.raises(ValueError, match="log.csv.*Convert it to UTF-8"):
    encode(Files(str(path), timestamp=None).read())
  path.write_text("user,item\nu,1\nu,1,2\n")
  with pytest.raises(ValueError, match="log.csv.*Is the separator"):
    encode(Files(str(path), timestamp=None).read())


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"path": ""}, "no path is given"),
    ({"path": "nowhere.csv"}, "no file 'nowhere.csv'"),
    ({"path": __file__}, "format of 'test_files.py' is unknown"),
    ({"path": __file__, "format": "xls"}, "format must be one of"),
    ({"path": __file__, "format": "csv", "separator": "::"}, "separator"),
  ],
)
def test_files_that_cannot_be_opened_say_why(arguments, message):
  with pytest.raises(ValueError, match=message):
    Files(**arguments).read()
  with pytest.raises(ValueError, match="unit must be"):
    Files("log.csv", unit="minutes")


def test_a_copy_elsewhere_is_the_same_source(tmp_path):
  text = "user,item\nu,1\nu,2\n"
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "log.csv").write_text(text)
  a, b = (
    Files(str(tmp_path / folder / "log.csv"), timestamp=None)
    for folder in ("a", "b")
  )
  prepare(a, LeaveOneOut(), tmp_path / "data")
  prepare(b, LeaveOneOut(), tmp_path / "data")
  (tmp_path / "b" / "log.csv").write_text(text + "u,3\n")
  with pytest.raises(ValueError, match="checksums.log.csv"):
    prepare(b, LeaveOneOut(), tmp_path / "data")
  # A run goes on after its source was cleared away.
  (tmp_path / "a" / "log.csv").unlink()
  prepare(a, LeaveOneOut(), tmp_path / "data")


def test_otto_sessions(shared):
  source = Files(
    str(shared / "data" / "otto-sample.jsonl"),
    user="session",
    nested="events",
    item="aid",
    timestamp="ts",
    action="type",
  )
  sequences = encode(source.read())
  lines = (shared / "data" / "otto-sample.jsonl").read_text().splitlines()
  first = json.loads(lines[0])
  assert sequences.user_ids[0] == str(first["session"])
  record = sequences.record(0)
  ids = ["", *sequences.items["item_id"].to_list()]
  assert [ids[i] for i in record["item"]] == [
    str(event["aid"]) for event in first["events"]
  ]
  assert (record["time"] + sequences.epoch_seconds).tolist() == [
    event["ts"] // 1000 for event in first["events"]
  ]
  assert [sequences.actions[a] for a in record["action"]] == [
    event["type"] for event in first["events"]
  ]
  assert sequences.counts["in"] == sequences.counts["out"] == 862


def test_retailrocket_and_its_milliseconds(shared):
  source = Files(
    str(shared / "data" / "retailrocket-sample.csv"),
    user="visitorid",
    item="itemid",
    action="event",
    request="transactionid",
  )
  sequences = encode(source.read())
  assert sequences.counts["out"] == 5_166
  assert len(sequences.user_ids) == 1_092
  assert sequences.actions == ["", "addtocart", "transaction", "view"]
  # Months, as milliseconds would not give.
  assert 10**6 < sequences.fields["time"].max() < 2 * 10**7


def test_taobao_has_no_header(shared, tmp_path):
  source = Files(
    str(shared / "data" / "taobao-sample.csv.gz"),
    columns=("user", "item", "category", "action", "timestamp"),
    action="action",
    attributes=("category",),
  )
  prepare(source, GlobalTime(), tmp_path / "data")
  histories, catalog = Histories(tmp_path / "data"), Catalog(tmp_path / "data")
  assert len(histories) == 114
  assert histories.manifest.num_events == 10_000
  assert catalog.attributes["category"].null_count() == 0
  assert catalog.titles[1] == ""


def test_movielens_in_order_without_times(shared):
  path = str(shared / "data" / "ml-1m-all-users-order-only.parquet")
  roles = {"user": "user_id", "item": "item_id", "value": "rating"}
  source = Files(path, timestamp=None, order="position", **roles)
  sequences = encode(source.read())
  assert (len(sequences.user_ids), len(sequences.items)) == (6_040, 3_416)
  assert sequences.epoch_seconds is None and "time" not in sequences.fields
  table = pl.read_parquet(path).filter(pl.col("user_id") == 6_040)
  wanted = table.sort("position")["item_id"].cast(pl.String).to_list()
  record = sequences.record(sequences.user_ids.index("6040"))
  ids = ["", *sequences.items["item_id"].to_list()]
  assert [ids[i] for i in record["item"]] == wanted
  with pytest.raises(
    ValueError, match="512,267 of 999,611.*config.filter.ignore_timestamps"
  ):
    encode(Files(path, order="position", **roles).read())


@pytest.mark.parametrize(
  "name", ["log.csv", "log.csv.gz", "log.parquet", "log.jsonl"]
)
def test_rows_keep_their_order_when_read_by_many_threads(tmp_path, name):
  rows = 200_000
  log = pl.DataFrame({"item": range(rows)}).with_columns(
    user=pl.col("item") % 7
  )
  path = tmp_path / name
  if name.endswith(".parquet"):
    log.write_parquet(path, row_group_size=5_000)
  elif name.endswith(".jsonl"):
    log.write_ndjson(path)
  else:
    text = log.write_csv().encode()
    path.write_bytes(gzip.compress(text, 1) if name.endswith("gz") else text)
  sequences = encode(Files(str(path), timestamp=None).read())
  ids = sequences.items["item_id"].cast(pl.Int64).to_numpy()
  assert (ids == range(rows)).all()
  for user in range(7):
    wanted = range(user + 1, rows + 1, 7)
    assert (sequences.record(user)["item"] == wanted).all()


def test_empty_text_is_a_column_that_is_not_there(tmp_path):
  path = tmp_path / "log.csv"
  path.write_text("user,item\nu,a\nu,b\n")
  empty = Files(str(path), timestamp="", action="", order="", separator="")
  assert empty == Files(str(path), timestamp=None)
  assert encode(empty.read()).epoch_seconds is None
  with pytest.raises(ValueError, match="item='' must name the column"):
    Files(str(path), item="")


def test_local_times_are_those_of_the_declared_zone(tmp_path):
  path = tmp_path / "log.csv"
  path.write_text(
    "user,item,timestamp\nu,a,2010-07-01 10:00:00\nu,b,2010-12-01 10:00:00\n"
  )
  moments = {"UTC": 10, "Europe/London": 9}
  for zone, hour in moments.items():
    sequences = encode(Files(str(path), time_zone=zone).read())
    assert sequences.epoch_seconds % 86_400 == hour * 3600
    span = 153 * 86_400 + (10 - hour) * 3600
    assert sequences.record(0)["time"].tolist() == [0, span]
  with pytest.raises(ValueError, match="time_zone='Mars' is no time zone's"):
    Files(str(path), time_zone="Mars")
  # Data prepared before there were zones are still what a config asks for.
  prepare(Files(str(path)), LeaveOneOut(), tmp_path / "data")
  manifest = Histories(tmp_path / "data").manifest
  assert "time_zone" not in manifest.options["source"]
  path.write_text("user,item,timestamp\nu,a,1277978400\n")
  sequences = encode(Files(str(path), time_zone="Europe/London").read())
  assert sequences.epoch_seconds == 1_277_978_400
