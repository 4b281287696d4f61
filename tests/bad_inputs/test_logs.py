# SPDX-License-Identifier: Apache-2.0
"""Logs in files that cannot be read as they are: what is said of each."""

import gzip
import os

import polars as pl
import pytest

from genrec_jax.data.prepare import encode
from genrec_jax.data.sources import Files
from tests.bad_inputs.answers import SECRET, refused

_ROW = f"{SECRET},7\n"
_CSV = "user,item\n" + _ROW * 2
_JSON = f'{{"user": "{SECRET}", "item": 7}}\n'
_TIMED = "user,item,timestamp\n"
_QUOTE = r"quote='' \(--config.data.quote=\)"

# Name of the file; its content, text or bytes; options; what is said.
_FORMS = [
  # Quotes, which make rows of other rows.
  (
    "a.csv",
    f'{_CSV}u,"8\n{_ROW}',
    {},
    f'line 4 .*opens a " that nothing.*{_QUOTE}',
  ),
  ("a.csv", f'{_CSV}u,"8\n{_ROW * 30_000}', {}, f"line 4 .*{_QUOTE}"),
  (
    "a.csv",
    f'{_CSV}u,8"x\n{_ROW}',
    {},
    f'line 4 .*a " within a field.*{_QUOTE}',
  ),
  ("a.csv", f'{_CSV}u,"8"x\n', {}, f"line 4 .*not end with a field.*{_QUOTE}"),
  ("a.csv", f'{_CSV}u,"8\nu,9\nv,"1"\n', {}, r"that line 4 .*\(line 6\)"),
  ("a.csv", f'{_CSV}u,TV 32" and 40"\n', {}, "line 4 .*within a field"),
  ("a.csv", f'"user,item\n{_ROW}', {}, 'line 1 .*opens a "'),
  ("a.csv", f"user,item\n{_ROW}'u,8\n", {"quote": "'"}, "line 3 .*opens a '"),
  (
    "a.csv",
    f'user,item\n"{SECRET}\nv,1\nw",2\n',
    {},
    "row 1 holds a line break",
  ),
  ("a.csv", f'user,item\nu,1\nu,"{SECRET}\nv,2"\n', {}, f"row 2 .*{_QUOTE}"),
  ("a.csv.gz", f'{_CSV}u,"8\n{_ROW}', {}, "line 4 of .*a.csv.gz opens"),
  ("a.tsv", 'user\titem\nu\t"8\n', {}, "line 2 .*opens"),
  # Fields and columns.
  (
    "a.csv",
    f"{_CSV}{SECRET},8,9\n",
    {},
    "line 4 .*3 fields, the first line 2.*separator",
  ),
  ("a.csv", f"{_CSV}u,8;9,10\n", {}, "line 4 .*3 fields"),
  ("a.csv", "user;item\nu;7\n", {}, "no column 'user'.*separated by ';'"),
  ("a.csv", "user\titem\nu\t7\n", {}, r"no column 'user'.*separated by '\\t'"),
  ("a.tsv", _CSV, {}, "no column 'user'.*separated by ','"),
  ("a.csv", "User,item\nu,7\n", {}, "no column 'user'. Did you mean 'User'"),
  ("a.csv", "user, item\nu,7\n", {}, "no column 'item'. Did you mean ' item'"),
  ("a.csv", "user,item,item\nu,7,8\n", {}, "two columns 'item'; rename one"),
  (
    "a.csv",
    _ROW,
    {"columns": ("user",)},
    "names 1 columns, .*first line .*has 2",
  ),
  (
    "a.csv",
    _ROW,
    {"columns": ("user", "item", "x")},
    "names 3 columns.* has 2",
  ),
  ("a.csv", _ROW, {"columns": ("user", "user")}, "names one twice"),
  ("a.csv", _CSV, {"user": "item"}, "user and item are both the column 'item'"),
  ("a.csv", _CSV, {"user": ""}, "user='' must name the column"),
  ("a.csv", _CSV, {"separator": "::"}, "separator must be one character"),
  (
    "a.csv",
    _CSV,
    {"separator": "é"},
    "separator must be one character of one byte",
  ),
  ("a.csv", _CSV, {"quote": "''"}, "quote must be one character"),
  ("a.csv", _CSV, {"separator": '"'}, "is the quote, or ends lines"),
  ("a.csv", _CSV, {"separator": "\n"}, "is the quote, or ends lines"),
  ("a.csv", "user,item\nu,\r,8\n", {}, "line 2 .*has 3 fields"),
  ("a.csv", _CSV, {"unit": "minutes"}, "unit must be 's', 'ms'"),
  ("a.csv", _CSV, {"value": "stars"}, "no column 'stars'"),
  ("a.csv", _CSV, {"nested": "events"}, "nested='events' must be a list"),
  # Bytes.
  ("a.csv", _CSV.encode() + b"u,caf\xe9\n", {}, "line 4 .*is not UTF-8.*iconv"),
  ("a.csv", _CSV.encode("utf-16"), {}, "not UTF-8 text.*mark of UTF-16.*iconv"),
  ("a.csv", _CSV.encode("utf-16-le"), {}, "not UTF-8 text: .*a byte 0"),
  ("a.csv", b"\0" * 64, {}, "not UTF-8 text: .*a byte 0"),
  ("a.csv", "user,item\ru,7\r", {}, "end in CR alone"),
  ("a.csv", "", {}, "a.csv is empty"),
  ("a.csv", "\n\n", {}, "a.csv is empty: all its lines are blank"),
  ("a.csv", "user,item\n", {}, "the log has no events .a.csv"),
  ("a.csv", "\n\n\n", {}, "a.csv"),
  ("a.csv.gz", b"user,item\nu,7\n", {}, "a.csv.gz is truncated or damaged"),
  (
    "a.csv.gz",
    gzip.compress(_CSV.encode(), mtime=0)[:-9],
    {},
    "truncated or damaged",
  ),
  ("a.xlsx", b"PK", {}, "format of 'a.xlsx' is unknown; known endings"),
  ("a.csv", _CSV, {"format": "excel"}, "format must be one of"),
  # JSON lines.
  ("a.jsonl", _JSON + '{"user": "u", "it', {}, "line 2 .*is not JSON"),
  ("a.jsonl", _JSON + "[1, 2]\n", {}, "line 2 .*is not a JSON object"),
  (
    "a.jsonl",
    f"[{_JSON}]",
    {},
    "line 1 .*is not a JSON object|line 1 .* not JSON",
  ),
  (
    "a.jsonl",
    '{"user": "u", "item": NaN}\n',
    {},
    "line 1 .*NaN is no JSON value; write null",
  ),
  ("a.jsonl", '{"user": "u", "item": 1e999}\n', {}, "line 1 .*beyond 64 bits"),
  (
    "a.jsonl",
    '{"user": "u", "item": %s}\n' % ("9" * 40),
    {},
    "line 1 .*beyond 64 bits",
  ),
  ("a.jsonl", _JSON.strip() * 2, {}, "line 1 .*is not JSON: Extra data"),
  ("a.jsonl", b'{"user": "caf\xe9", "item": 1}\n', {}, "line 1 .*not UTF-8"),
  ("a.jsonl", '{"user": {"id": 1}, "item": 1}\n', {}, "ids must be text"),
  ("a.jsonl", '{"user": [1, 2], "item": 1}\n', {}, "ids must be text"),
  ("a.jsonl", _JSON, {"user": "who"}, "no column 'who'.*Choices: item, user"),
  ("a.jsonl", _JSON, {"nested": "item"}, "nested='item' must be a list"),
  ("a.jsonl", "", {}, "a.jsonl is empty"),
  # Parquet.
  ("a.parquet", b"PAR1" + b"\0" * 40, {}, "no Parquet file, or is damaged"),
  ("a.parquet", _CSV, {}, "no Parquet file, or is damaged"),
  ("a.parquet", "", {}, "a.parquet is empty"),
]

# Times that cannot be; what is said.
_TIMES = [
  (
    ["2023-11-18 11:29:17", "soon"],
    "'soon' as timestamp in row 2.*1 of 2.*drop_unreadable_timestamps",
  ),
  (["1700000000", "2023-11-18"], "'2023-11-18' as timestamp in row 2"),
  (["2023-11-18", "1700000000"], "as timestamp in row"),
  (["2023-13-18"], "'2023-13-18' as timestamp"),
  (["18/11/2023"], "as timestamp in row 1"),
  (["2023/11/18 11:29"], "as timestamp in row 1"),
  (["2023-11-18 25:00:00"], "as timestamp in row 1"),
  (["1700000000", "inf"], "'inf' as timestamp in row 2"),
  (["1700000000", "x" * 5000], "'xxxxx.*as timestamp in row 2"),
  (
    ["1700000000", ""],
    "1 of 2 events have no timestamp, .*row 2.*drop_missing.*ignore_timestamps",
  ),
  (["1700000000", "NaT"], "1 of 2 events have no timestamp"),
  (["1700000000", "nan"], "1 of 2 events have no timestamp"),
  (["1700000000", "None"], "1 of 2 events have no timestamp"),
  (
    ["1700000000", "1700000000000"],
    "mixed units: row 1 .*seconds.*row 2 .*milliseconds",
  ),
  (["20231118", "20231119"], "look like dates"),
  (
    ["1700000000", "0"],
    "of 1970 or before.*first is 0 in row 2.*drop_unreadable",
  ),
  (["1700000000", "-1"], "of 1970 or before"),
  (["1e300"], "are no times"),
  (["1700000000", "9e18"], "mixed units"),
  (["10", "3000000000"], "span 95 years"),
]

# Columns of a Parquet log that hold something else; what is said.
_TYPES = [
  ({"user": [True]}, "'user' has the type Boolean; ids must be text or whole"),
  ({"user": [1.5]}, "1.5 as user in row 1"),
  ({"user": [2.0**60]}, "as user in row 1"),
  ({"user": [[1]]}, "'user' has the type List"),
  ({"user": [b"u"]}, "'user' has the type Binary"),
  ({"item": [{"a": 1}]}, "'item' has the type Struct"),
  ({"item": [float("inf")]}, "inf as item in row 1"),
  ({"item": [None]}, "of 1 events none remains: 1 no item id"),
  ({"item": ["null"]}, "none remains: 1 item id is a word for none"),
  ({"user": ["N/A"]}, "none remains: 1 user id is a word for none"),
  ({"timestamp": [True]}, "'timestamp' has the type Boolean"),
  ({"timestamp": [[1]]}, "'timestamp' has the type List"),
  ({"timestamp": [2.0**200]}, "are no times"),
  ({"value": ["much"]}, "'much' as value in row 1.*a finite number"),
  ({"value": [float("inf")]}, "inf as value in row 1"),
  ({"value": ["-inf"]}, "'-inf' as value"),
  ({"order": [1.5]}, "1.5 as order in row 1.*a whole number"),
  ({"order": [None]}, "row 1 has no order"),
  ({"action": [[1]]}, "'action' has the type List"),
  ({"request": [1.5]}, "1.5 as request in row 1"),
]

# Options of the filter; what is said.
_OPTIONS = [
  ({"min_user_events": 0}, "min_user_events must be at least 1"),
  ({"min_item_events": -1}, "min_item_events must be at least 1"),
  ({"min_user_events": 9}, "of 2 events none remains: 2 user below min_user"),
  ({"last_events": 0}, "last_events must be at least 1"),
  ({"hold_out_items": 1.0}, "hold_out_items must lie in"),
]


def _read(folder, name, content, options, **filters):
  path = folder / name
  data = content.encode() if isinstance(content, str) else content
  if name.endswith(".gz") and isinstance(content, str):
    data = gzip.compress(data, mtime=0)
  path.write_bytes(data)
  source = Files(str(path), **{"timestamp": None, **options})
  return encode(source.read(), **filters)


@pytest.mark.parametrize(("name", "content", "options", "words"), _FORMS)
def test_forms(tmp_path, name, content, options, words):
  refused(words, _read, tmp_path, name, content, options)
  assert os.listdir(tmp_path) in ([name], [])


@pytest.mark.parametrize(("times", "words"), _TIMES)
def test_times(tmp_path, times, words):
  text = _TIMED + "".join(f"{SECRET},{n},{t}\n" for n, t in enumerate(times))
  refused(words, _read, tmp_path, "a.csv", text, {"timestamp": "timestamp"})


@pytest.mark.parametrize(("columns", "words"), _TYPES)
def test_types(tmp_path, columns, words):
  table = pl.DataFrame({"user": [SECRET], "item": ["7"], **columns})
  table.write_parquet(tmp_path / "a.parquet")
  roles = {name: name for name in columns}
  source = Files(str(tmp_path / "a.parquet"), **{"timestamp": "", **roles})
  refused(words, lambda: encode(source.read()))


@pytest.mark.parametrize(("filters", "words"), _OPTIONS)
def test_filters(tmp_path, filters, words):
  refused(words, _read, tmp_path, "a.csv", _CSV, {}, **filters)


@pytest.mark.parametrize(
  ("files", "words"),
  [
    ([_CSV, "item,user\n7,u\n"], "1.csv has another header than .*0.csv"),
    ([_CSV, "user\nu\n"], "1.csv has another header"),
    ([_CSV, "user,item,more\nu,7,8\n"], "1.csv has another header"),
    ([_CSV, _CSV + 'u,"8\n'], "line 4 of .*1.csv opens"),
    ([_CSV, ""], "1.csv is empty"),
  ],
)
def test_several_files(tmp_path, files, words):
  for number, text in enumerate(files):
    (tmp_path / f"{number}.csv").write_text(text)
  source = Files(str(tmp_path / "*.csv"), timestamp=None)
  refused(words, lambda: encode(source.read()))


@pytest.mark.parametrize("what", ["items", "users"])
def test_quotes_of_a_file_of_items_or_users(tmp_path, what):
  """Each file has a quote character of its own."""
  (tmp_path / "log.csv").write_text(_CSV)
  text = f'{what[:-1]},note\n7,TV 32" and\n'
  (tmp_path / "more.csv").write_text(text)
  about = {"path": str(tmp_path / "more.csv"), "title": None}
  if what == "users":
    del about["title"]

  def read(**more):
    options = {
      f"{what}_{name}": value for name, value in (about | more).items()
    }
    source = Files(str(tmp_path / "log.csv"), timestamp=None, **options)
    return getattr(source.read(), what)

  fix = rf"{what}_quote='' \(--config.data.{what}_quote=\)"
  refused(f"line 2 .*within a field.*{fix}", read)
  for quote in ("", None, "'"):
    assert read(quote=quote)["note"].to_list() == ['TV 32" and']


def test_no_quote_character_is_none_at_all(tmp_path):
  path = tmp_path / "log.csv"
  path.write_text('user,item\nu,8"x\n')
  for quote in ("", None):
    rows = Files(str(path), timestamp=None, quote=quote).read().events.collect()
    assert rows["item"].to_list() == ['8"x']


@pytest.mark.parametrize("path", ["", "nowhere.csv", "no-*.csv", "."])
def test_paths(tmp_path, monkeypatch, path):
  monkeypatch.chdir(tmp_path)
  refused("no path is given|there is no file", lambda: Files(path).read())


def test_actions_out_of_the_vocabulary(tmp_path):
  text = "user,item,what\nu,7,buy\n"
  options = {"action": "what", "actions": ("view",)}
  words = r"actions \['buy'\] are not in the vocabulary \['view'\]"
  refused(words, _read, tmp_path, "a.csv", text, options)
