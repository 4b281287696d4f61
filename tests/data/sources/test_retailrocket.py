# SPDX-License-Identifier: Apache-2.0
"""RetailRocket's events: actions by name, baskets, every fault of the file."""

import dataclasses

import pytest

from genrec_jax.data.action_log import ActionLog
from genrec_jax.data.prepare import encode
from genrec_jax.data.sources import RetailRocket

_HEADER = "timestamp,visitorid,event,itemid,transactionid"
_T = 1_433_221_332_117
_ROWS = [
  f"{_T + 9000},7,transaction,11,5",
  f"{_T},7,view,10,",
  f"{_T + 1},7,addtocart,10,",
  f"{_T + 9000},7,transaction,10,5",
  f"{_T + 2},8,view,10,",
  f"{_T + 2},8,view,10,",
]


@pytest.fixture
def folder(tmp_path):
  _write(tmp_path, _ROWS)
  return tmp_path


def _write(folder, rows, header=_HEADER):
  (folder / "events.csv").write_text("\n".join([header, *rows]) + "\n")


def _actions(sequences, user):
  return [sequences.actions[a] for a in sequences.record(user)["action"]]


def test_events_in_time_with_the_actions_of_this_package(folder):
  raw = RetailRocket(str(folder)).read()
  assert raw.actions == ["view", "cart", "purchase"]
  sequences = encode(raw)
  assert sequences.user_ids == ["7", "8"]
  assert _actions(sequences, 0) == ["view", "cart", "purchase", "purchase"]
  assert sequences.epoch_seconds == _T // 1000
  record = sequences.record(0)
  # Milliseconds order what is of one second; a transaction is one request.
  assert record["time"].tolist() == [0, 0, 9, 9]
  assert record["request"].tolist() == [0, 1, 2, 2]
  assert sequences.counts["dropped"] == {"exact duplicate": 1}


def test_the_names_are_those_that_make_impressions(folder):
  rule = ActionLog(("view", "cart", "purchase"), window_hours=1.0)
  raw = dataclasses.replace(RetailRocket(str(folder)).read(), action_log=rule)
  counts = encode(raw).counts["impressions"]
  assert counts["labels"] == {"cart": 1, "purchase": 1}
  assert counts["unseen"] == {"cart": 0, "purchase": 1}


def test_actions_that_are_not_wanted_are_counted(folder):
  raw = RetailRocket(str(folder), actions=("purchase", "cart")).read()
  assert raw.actions == ["cart", "purchase"]
  counts = encode(raw).counts
  assert counts["dropped"] == {
    "view, not one of actions=('cart', 'purchase')": 3
  }
  assert (counts["in"], counts["out"]) == (6, 3)


def test_an_action_that_never_occurs_is_named(folder):
  with pytest.raises(
    ValueError, match="'addtocart', which never occurs.*cart,"
  ):
    RetailRocket(str(folder), actions=("addtocart",)).read()
  _write(folder, _ROWS[1:2])
  assert RetailRocket(str(folder)).read().actions == ["view"]
  with pytest.raises(
    ValueError, match="'purchase', which never .*Choices: view"
  ):
    RetailRocket(str(folder), actions=("view", "purchase")).read()


@pytest.mark.parametrize(
  ("row", "said"),
  [
    (f"{_T},7,buy,10,", "events.csv, line 8: column 'event' holds 'buy'.*view"),
    (f"{_T},7,,10,", "events.csv, line 8: column 'event' has none"),
    (f"{_T // 1000},7,view,10,", "timestamps of mixed units: row 7"),
    ("soon,7,view,10,", "cannot read 'soon' as timestamp in row 7"),
    ("0,7,view,10,", "1 of 7 timestamps are of 1970 or before.* row 7"),
    ("-1,7,view,10,", "1 of 7 timestamps are of 1970 or before.* row 7"),
    (",7,view,10,", "1 of 7 events have no timestamp, the first in row 7"),
    (f"{_T},7,view,10,,,", "line 8 of .*events.csv has 7 fields"),
  ],
)
def test_a_row_that_cannot_be_read_is_named(folder, row, said):
  _write(folder, [*_ROWS, row])
  with pytest.raises(ValueError, match=said):
    encode(RetailRocket(str(folder)).read())


def test_times_that_are_none_can_be_dropped(folder):
  rows = ["0,7,view,10,", "-1,7,view,10,", ",7,view,10,", f"{-_T},7,view,10,"]
  _write(folder, [*_ROWS, *rows])
  counts = encode(
    RetailRocket(str(folder)).read(),
    drop_missing_timestamps=True,
    drop_unreadable_timestamps=True,
  ).counts
  assert counts["out"] == 5 and sum(counts["dropped"].values()) == 5


def test_a_missing_id_is_counted_and_a_missing_file_named(folder):
  _write(folder, [*_ROWS, f"{_T},,view,10,", f"{_T},7,view,,"])
  counts = encode(RetailRocket(str(folder)).read()).counts
  assert counts["dropped"]["no user id"] == counts["dropped"]["no item id"] == 1
  with pytest.raises(ValueError, match="RetailRocket needs path="):
    RetailRocket().read()
  with pytest.raises(ValueError, match="no file .*nowhere"):
    RetailRocket("nowhere").read()
  _write(folder, _ROWS, _HEADER.replace("itemid", "item"))
  with pytest.raises(ValueError, match="no column 'itemid'.*mean 'item'"):
    RetailRocket(str(folder)).read()


def test_the_published_sample(shared):
  raw = RetailRocket(str(shared / "data/retailrocket-sample.csv")).read()
  counts = encode(raw, deduplicate=False).counts
  assert counts["out"] == 5_166 and counts["users_in"] == 1_092
