# SPDX-License-Identifier: Apache-2.0
"""Anything at all as a file, a table, a config value or an argument.

A case is read, and then every row is kept or dropped for a reason, or it is
refused by a ValueError of a few lines; nothing else. A CSV that is read has the
rows that Python's own reader finds in it. $GENREC_FUZZ is the number of
examples with --full.
"""

import csv
import importlib
import io
import os
import sys

from hypothesis import given, settings, strategies as st
import numpy as np
import polars as pl
import pytest

from configs import hstu_files
from genrec_jax.core.build import build, to_plain
from genrec_jax.data.dataset import Catalog, Histories
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.sources import Files, frames
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.serving.recommender import Recommender
from tests.bad_inputs.answers import check

_QUICK, _FULL = 30, int(os.environ.get("GENREC_FUZZ", 150))
_FIT = importlib.import_module("genrec_jax.serving.fit")
_FIELD = st.one_of(
  st.sampled_from(
    ["u", "i1", "7", "7.0", "", " ", "nan", "None", "N/A", "1700000000", "-1"]
    + ["2023-11-18 11:29:17 UTC", "2023-11-18", "soon", "1e9", "inf", '"', '""']
    + ['"a,b"', '"a""b"', '"a\nb"', 'a"b', "\0", "\r", "é", "x" * 20_000, "💶"]
  ),
  st.text(max_size=6),
)
_SEPARATOR = st.sampled_from([",", ",", ",", ";", "\t", "|"])
_LINE = st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"])
_ENCODING = st.sampled_from(["utf-8"] * 4 + ["utf-8-sig", "latin-1", "utf-16"])
_VALUE = st.one_of(
  *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
  *(st.binary(max_size=4), st.lists(st.integers(), max_size=3)),
  st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def _accounted(raw, **options):
  """Encodes a log; whatever comes of it must account for all of its rows."""
  try:
    sequences = encode(raw, **options)
  except ValueError as error:
    check(str(error), "")
    return None
  counts = sequences.counts
  assert counts["in"] == counts["out"] + sum(counts["dropped"].values())
  assert counts["out"] == int(sequences.offsets[-1]) > 0
  return counts


def _reads(data, options, folder, **filters):
  path = folder / "log.csv"
  path.write_bytes(data)
  try:
    raw = Files(str(path), **options).read()
  except ValueError as error:
    check(str(error), "")
    return None
  return _accounted(raw, **filters)


@st.composite
def _csv(draw):
  separator, line = draw(_SEPARATOR), draw(_LINE)
  rows = draw(st.lists(st.lists(_FIELD, min_size=1, max_size=4), max_size=6))
  head = draw(
    st.sampled_from([["user", "item"], ["user", "item", "timestamp"]])
  )
  rows = [head, *rows]
  text = line.join(separator.join(row) for row in rows)
  data = text.encode(draw(_ENCODING), errors="replace")
  cut = draw(st.integers(0, len(data)))
  data = data[:cut] if draw(st.integers(0, 9)) == 0 else data
  timed = draw(st.booleans()) and len(head) == 3
  return data, {
    "separator": draw(st.sampled_from([separator, separator, ","])),
    "quote": draw(st.sampled_from(['"', '"', "", "'"])),
    "timestamp": "timestamp" if timed else None,
  }


def _rows_by_python(data, options):
  """Rows of a CSV as Python's reader finds them, without the empty ones."""
  text = data.decode("utf-8-sig")
  csv.field_size_limit(sys.maxsize)
  quote = options["quote"]
  how = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
  reader = csv.reader(
    io.StringIO(text, newline=""), delimiter=options["separator"], **how
  )
  return [row for row in reader if row and row != [""]]


def _fuzz_csv(folder, case, drop):
  data, options = case
  counts = _reads(
    data,
    options,
    folder,
    drop_unreadable_timestamps=drop,
    drop_missing_timestamps=drop,
  )
  if counts is not None and b"\r" not in data.replace(b"\r\n", b""):
    # Empty lines are rows without a user, or none; nothing else differs.
    empty = counts["dropped"].get("no user id", 0)
    rows = len(_rows_by_python(data, options)) - 1
    assert rows <= counts["in"] <= rows + empty


def _fuzz_bytes(folder, data):
  _reads(b"user,item\n" + data, {"timestamp": None}, folder)
  path = folder / "log.jsonl"
  path.write_bytes(b'{"user": "u", "item": 1}\n' + data)
  try:
    raw = Files(str(path), timestamp=None).read()
  except ValueError as error:
    check(str(error), "")
    return
  _accounted(raw)


_COLUMN = st.lists(_VALUE, min_size=3, max_size=3)


def _fuzz_table(columns):
  try:
    table = pl.DataFrame(columns, strict=False)
  except Exception:
    return  # It is no table of Polars.
  try:
    found = frames.as_polars(table)
    roles = frames.guess_columns(found.columns, frames.EVENT_ROLES)
    events = found.select(pl.col(c).alias(r) for r, c in roles.items())
  except ValueError as error:
    check(str(error), "")
    return
  _accounted(RawLog(events=events))
  log = pl.DataFrame({"user": ["u"] * 3, "item": ["7", "8", "7"]})
  items = found.rename({roles["item"]: "item"})
  _accounted(RawLog(events=log, items=items))


class _Log:
  def read(self):
    rows = [(f"u{n % 4}", f"i{n % 5}", 10**9 + n) for n in range(24)]
    events = pl.DataFrame(rows, ["user", "item", "timestamp"], orient="row")
    items = pl.DataFrame({"item": ["i1", "i2"], "size": [1, 2]})
    return RawLog(events=events, items=items)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  folder = tmp_path_factory.mktemp("fuzz") / "data"
  prepare(_Log(), LeaveOneOut(), folder)
  vectors = np.eye(Catalog(folder).num_items + 1, 4, dtype=np.float32)
  index = BruteForce.build(vectors)

  def search(requests, k, allowed):
    return index.search(np.ones((len(requests), 4), np.float32), k, allowed)

  return Recommender(search, vectors, Histories(folder), batch_size=4)


_ID = st.one_of(st.sampled_from(["i1", "i2", "u1", 3]), _VALUE)
_IDS = st.one_of(_VALUE, st.lists(_ID, max_size=3))
_QUESTION = st.fixed_dictionaries(
  {},
  optional={
    "user": _ID,
    "history": _IDS,
    "histories": st.one_of(_VALUE, st.lists(_IDS, max_size=3)),
    "k": st.one_of(st.integers(-2, 9), _VALUE),
    "allow": _IDS,
    "deny": _IDS,
    "where": st.one_of(
      _VALUE, st.dictionaries(st.sampled_from(["size", "x"]), _IDS, max_size=2)
    ),
    "filter_history": st.one_of(st.booleans(), _VALUE),
    "request_time": st.one_of(st.none(), st.none(), _VALUE),
    "strict": st.booleans(),
  },
)


def _fuzz_question(model, question):
  try:
    answer = model.recommend(**question)
  except ValueError as error:
    check(str(error), "")
  else:
    assert set(answer["source"].unique()) <= {"model", "popular"}
  try:
    found = model.similar_items(question.get("user"), question.get("k", 3))
  except ValueError as error:
    check(str(error), "")
  else:
    assert 0 < len(found) <= question.get("k", 3)


def _fuzz_override(name, value):
  config = hstu_files.get_config("small")
  try:
    _FIT._apply(config, {name: value})
    plain = to_plain(config)
    build(plain["data"], where="config.data")
    build(plain["split"], where="config.split")
    _accounted(_Log().read(), **plain["filter"])
  except ValueError as error:
    check(str(error), "")


_NAMES = st.one_of(
  st.sampled_from(["filter", "filter.min_user_events", "filter.last_events"]),
  st.sampled_from(["filter.hold_out_items", "filter.deduplicate", "data.user"]),
  st.sampled_from(["data.quote", "data.unit", "data.columns", "split.name"]),
  st.sampled_from(["filter.keep_null_words", "data.attributes", "data.name"]),
  st.text(max_size=6),
)
_FUZZES = {
  "csv": lambda f, m: given(_csv(), st.booleans())(
    lambda case, drop: _fuzz_csv(f, case, drop)
  ),
  "bytes": lambda f, m: given(st.binary(max_size=60))(
    lambda data: _fuzz_bytes(f, data)
  ),
  "table": lambda f, m: given(
    st.fixed_dictionaries(
      {"user": _COLUMN, "item": _COLUMN},
      optional={"time": _COLUMN, "event": _COLUMN, "size": _COLUMN},
    )
  )(_fuzz_table),
  "question": lambda f, m: given(_QUESTION)(lambda q: _fuzz_question(m, q)),
  "override": lambda f, m: given(_NAMES, _VALUE)(_fuzz_override),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", _FUZZES)
@pytest.mark.parametrize(
  "count", [_QUICK, pytest.param(_FULL, marks=pytest.mark.slow)]
)
def test_fuzz(what, count, tmp_path, model):
  settings(max_examples=count)(_FUZZES[what](tmp_path, model))()
