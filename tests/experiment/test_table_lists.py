# SPDX-License-Identifier: Apache-2.0
"""Lists of a table: the latest one in time, by event, and what is refused."""

import datetime
import types

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.retriever_lists import NOTHING
from genrec_jax.experiment import TableLists, table_lists

_EPOCH = 1_500_000_000


@pytest.fixture
def histories(monkeypatch):
  """A data set of users u0 to u2 and items a to d, of ids alone."""
  names = types.SimpleNamespace(ids=["u0", "u1", "7"])
  items = types.SimpleNamespace(ids=["", "a", "b", "c", "d"])
  monkeypatch.setattr(table_lists, "Users", lambda directory: names)
  monkeypatch.setattr(table_lists, "Catalog", lambda directory: items)
  found = object.__new__(Histories)
  found.manifest = types.SimpleNamespace(epoch_seconds=_EPOCH)
  found.directory = ""
  return found


def _asked(users, times, events=None):
  zeros = np.zeros(len(users), np.int32)
  events = zeros if events is None else np.array(events, np.int32)
  times = np.array(times, np.int32)
  none = {"user": np.array(0), "item": np.zeros(0, np.int32)}
  history = [none] * len(users)
  return Requests(np.array(users, np.int32), zeros, history, times, events)


def _file(tmp_path, rows, names, ending="csv"):
  frame = pl.DataFrame(rows, schema=names, orient="row")
  path = tmp_path / f"lists.{ending}"
  getattr(frame, f"write_{ending}")(path)
  return str(path)


_ROWS = [
  ("u0", "b", 2, 100),
  ("u0", "a", 1, 100),
  ("u0", "gone", 3, 100),
  ("u0", "d", 1, 200),
  ("u0", "a", 2, 200),
  ("u0", "d", 3, 200),
  ("u1", "c", 1, 150),
  ("7", "c", 2, 50),
  ("stranger", "c", 1, 50),
]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("form", ["seconds", "iso"])
def test_a_request_has_the_latest_list_before_it(
  histories, tmp_path, ending, form
):
  rows = [(*row[:3], row[3] + _EPOCH) for row in _ROWS]
  if form == "iso":
    utc = datetime.UTC
    rows = [
      (*r[:3], datetime.datetime.fromtimestamp(r[3], utc).isoformat())
      for r in rows
    ]
  path = _file(tmp_path, rows, ["user", "item", "rank", "time"], ending)
  retriever = TableLists(path, time="time").open(histories)
  assert retriever.facts == {"rows": 9, "unknown_users": 1, "unknown_items": 1}
  found = retriever.ask(
    _asked([0, 0, 0, 0, 1, 2], [100, 199, 200, 999, 150, 60]), 3
  )
  wanted = [[1, 2, 0], [1, 2, 0], [4, 1, 0], [4, 1, 0], [3, 0, 0], [3, 0, 0]]
  assert found.ids.tolist() == wanted
  assert found.until.tolist() == [100, 100, 200, 200, 150, 50]
  assert not found.lacks.any()
  # All of a user's lists are later: the earliest is shown to be one of then.
  late = retriever.ask(_asked([0, 1], [99, 0]), 1)
  assert late.until.tolist() == [100, 150] and not late.lacks.any()
  assert late.ids.tolist() == [[1], [3]]


def test_a_request_has_the_list_of_its_event(histories, tmp_path):
  rows = [("u0", "a", 1, 1), ("u0", "b", 1, 3), ("u1", "c", 5, 0)]
  path = _file(tmp_path, rows, ["user", "item", "rank", "n"])
  retriever = TableLists(path, position="n").open(histories)
  requests = _asked([0, 0, 0, 1, 2], [7, 7, 7, 8, 9], [1, 2, 3, 0, 0])
  found = retriever.ask(requests, 2)
  assert found.lacks.tolist() == [False, True, False, False, True]
  assert found.ids[[0, 2, 3], 0].tolist() == [1, 2, 3]
  assert found.until.tolist() == [7, NOTHING, 7, 8, NOTHING]


def test_one_list_a_user_is_as_late_as_is_said(histories, tmp_path):
  rows = [("u0", "b", 1), ("u0", "a", 0)]
  path = _file(tmp_path, rows, ["user", "item", "rank"])
  until = datetime.datetime.fromtimestamp(_EPOCH + 500, datetime.UTC)
  retriever = TableLists(path, until=until.isoformat()).open(histories)
  found = retriever.ask(_asked([0, 0, 1], [9, 999, 999]), 2)
  assert found.ids[:2].tolist() == [[1, 2], [1, 2]]
  assert found.until[:2].tolist() == [500, 500]
  assert found.lacks.tolist() == [False, False, True]


def test_bad_tables_are_refused(histories, tmp_path):
  for options in ({}, {"time": "t", "until": "2020-01-01"}):
    with pytest.raises(ValueError, match="needs one of time, position and"):
      TableLists("x.csv", **options)
  names = ["user", "item", "rank", "time"]

  def opened(rows, **options):
    path = _file(tmp_path, rows, names)
    TableLists(path, **{"time": "time", **options}).open(histories)

  good = ("u0", "a", "1", str(_EPOCH))
  for row, options, said in (
    (("u0", "a", "first", str(_EPOCH)), {}, "row 2 has rank 'first', which is"),
    (("u0", "a", "", str(_EPOCH)), {}, "row 2 has rank"),
    (("u0", "a", "1", "soon"), {}, "the column 'time' has times that cannot"),
    (good, {"item": "sku"}, "no column 'sku'"),
    (good, {"time": "", "until": "soon"}, "until='soon' is no date"),
    (("u0", "a", "1", "x"), {"time": "", "position": "time"}, "row 2 has time"),
  ):
    first = good if options.get("position") is None else (*good[:3], "1")
    with pytest.raises(ValueError, match=said):
      opened([first, row], **options)
  with pytest.raises(ValueError, match="no list of any user of the data set"):
    opened([("nobody", "a", "1", str(_EPOCH))])
  histories.manifest.epoch_seconds = None
  with pytest.raises(ValueError, match="give the position of the event"):
    opened([good])
