# SPDX-License-Identifier: Apache-2.0
"""A log becomes sequences: order, numbering, counts, and clear refusals."""

from hypothesis import given, strategies as st
import numpy as np
import polars as pl
import pytest

from genrec_jax.data import schema
from genrec_jax.data.prepare import encoding

MOMENT = 1_420_070_400


def _encode(events, items=None, *, raw=None, **options):
  log = schema.RawLog(
    events=pl.DataFrame(events),
    **({} if items is None else {"items": pl.DataFrame(items)}),
    **(raw or {}),
  )
  return encoding.encode(log, **options)


def _log(*rows):
  """Events from (user, item, timestamp) rows."""
  names = ("user", "item", "timestamp")
  return {
    n: list(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)
  }


def _histories(sequences):
  """Item ids and unix seconds of each user id."""
  found = {}
  for user, name in enumerate(sequences.user_ids):
    record = sequences.record(user)
    ids = sequences.items["item_id"].gather(record["item"] - 1).to_list()
    times = (record["time"] + sequences.epoch_seconds).tolist()
    found[name] = list(zip(ids, times, strict=True))
  return found


EVENT = st.tuples(
  st.one_of(st.none(), st.integers(0, 4)),
  st.one_of(st.none(), st.integers(0, 6)),
  st.one_of(st.none(), st.integers(MOMENT, MOMENT + 8)),
)


@given(
  st.lists(EVENT, min_size=1, max_size=40),
  st.integers(1, 3),
  st.integers(1, 3),
  st.booleans(),
  st.booleans(),
)
def test_nothing_is_lost_uncounted_and_order_is_by_time_then_file(
  rows, min_user, min_item, iterate, deduplicate
):
  events = pl.DataFrame(
    rows,
    schema={"user": pl.Int64, "item": pl.Int64, "timestamp": pl.Int64},
    orient="row",
  )
  raw = schema.RawLog(events=events, dropped={"broken line": 2})
  try:
    sequences = encoding.encode(
      raw,
      min_user_events=min_user,
      min_item_events=min_item,
      iterate_filter=iterate,
      deduplicate=deduplicate,
      drop_missing_timestamps=True,
    )
  except ValueError as e:
    assert "none remains" in str(e)
    return
  counts = sequences.counts
  assert counts["in"] == len(rows) + 2
  assert counts["in"] == counts["out"] + sum(counts["dropped"].values())
  assert counts["out"] == sequences.offsets[-1]
  histories = _histories(sequences)
  left = sum(len(events) for events in histories.values())
  assert left == counts["out"]
  # What a user has left is a subsequence of the user's events in the file,
  # sorted stably by time.
  for name, events in histories.items():
    mine = [(str(r[1]), r[2]) for r in rows if str(r[0]) == name and r[2]]
    expected = iter(sorted(mine, key=lambda event: event[1]))
    assert all(event in expected for event in events)
  _check_numbering(rows, sequences)


def _check_numbering(rows, sequences):
  complete = [r for r in rows if None not in r]
  users = list(dict.fromkeys(str(r[0]) for r in complete))
  kept = set(sequences.user_ids)
  assert sequences.user_ids == [u for u in users if u in kept]
  by_time = sorted(complete, key=lambda row: row[2])
  items = list(dict.fromkeys(str(r[1]) for r in by_time))
  ids = sequences.items["item_id"].to_list()
  assert ids == [i for i in items if i in set(ids)]


def test_order_breaks_ties_and_replaces_missing_times():
  events = _log(("u", "a", 5), ("u", "b", 5), ("u", "c", 4))
  tied = _encode({**events, "order": [2, 1, 3]})
  assert [i for i, _ in _histories(tied)["u"]] == ["c", "b", "a"]
  del events["timestamp"]
  ordered = _encode({**events, "order": [2, 1, 3]})
  assert ordered.items["item_id"].to_list() == ["b", "a", "c"]
  assert ordered.epoch_seconds is None and "time" not in ordered.fields
  assert ordered.median_gap_seconds(np.array([3])) is None
  as_in_file = _encode(events)
  assert as_in_file.items["item_id"].to_list() == ["a", "b", "c"]


def test_times_within_a_second_sort_and_leave_as_seconds():
  start = MOMENT * 1000
  sequences = _encode(
    _log(("u", "b", start + 900), ("u", "a", start + 100), ("u", "c", start))
  )
  assert [i for i, _ in _histories(sequences)["u"]] == ["c", "a", "b"]
  assert sequences.fields["time"].tolist() == [0, 0, 0]
  assert sequences.epoch_seconds == MOMENT


def test_ids_are_one_whatever_their_type():
  as_text = _encode(_log(("1", "7", 5), ("1.0", "8", 6)))
  as_numbers = _encode(_log((1.0, 7, 5), (1.0, 8, 6)))
  as_integers = _encode(_log((1, 7, 5), (1, 8, 6)))
  assert as_text.user_ids == as_numbers.user_ids == as_integers.user_ids
  assert as_text.items.equals(as_numbers.items)
  assert as_text.items.equals(as_integers.items)


def test_ids_that_are_no_whole_numbers_name_the_row():
  with pytest.raises(ValueError, match="cannot read 1.5 as user in row 2"):
    _encode(_log((1.0, "a", 5), (1.5, "a", 6)))
  with pytest.raises(ValueError, match="item table has ids that are not whole"):
    _encode(_log((1, 1, 5)), {"item": [1.5]})


def test_missing_ids_are_counted_by_reason():
  sequences = _encode(
    _log(("u", "a", 5), (None, "a", 5), ("", None, 5), ("u", None, 6))
  )
  assert sequences.counts["dropped"] == {"no user id": 2, "no item id": 1}


def test_missing_times_are_an_error_or_counted():
  events = _log(("u", "a", 5), ("u", "b", None), ("u", "c", None))
  with pytest.raises(ValueError, match="2 of 3 .* the first in row 2"):
    _encode(events)
  sequences = _encode(events, drop_missing_timestamps=True)
  assert sequences.counts["dropped"] == {"no timestamp": 2}


def test_times_that_cannot_be_read_name_row_and_value():
  message = "cannot read 'yesterday' as timestamp in row 3"
  with pytest.raises(ValueError, match=message):
    _encode(_log(("u", "a", "5"), ("u", "b", "6"), ("u", "c", "yesterday")))
  with pytest.raises(ValueError, match="'6' as timestamp in row 2.* 1 of 3"):
    _encode(
      _log(("u", "a", "2015-01-01"), ("u", "b", "6"), ("u", "c", "2015-01-02"))
    )


def test_a_late_fraction_makes_the_column_fractional():
  rows = [("u", f"i{n}", str(MOMENT + n)) for n in range(1500)]
  rows.append(("u", "last", f"{MOMENT + 1400}.5"))
  sequences = _encode(_log(*rows))
  names = [name for name, _ in _histories(sequences)["u"]]
  assert names[1400:1403] == ["i1400", "last", "i1401"]


def test_mixed_units_and_impossible_spans_are_refused():
  with pytest.raises(ValueError, match="mixed units: row 1 .* row 2"):
    _encode(_log(("u", "a", MOMENT), ("u", "b", MOMENT * 1000)))
  with pytest.raises(ValueError, match="span 79 years, from 1936"):
    _encode(
      _log(("u", "a", -MOMENT * 3 // 4), ("u", "c", 9), ("u", "b", MOMENT))
    )
  # A unit that is told is believed.
  log = _log(("u", "a", 0), ("u", "c", 10**3), ("u", "b", 10**12))
  told = _encode(log, raw={"timestamp_unit": "ms"})
  seconds = told.fields["time"] + told.epoch_seconds
  assert seconds.tolist() == [0, 1, 10**9]


_RECENT = 29 * 31_556_952


@pytest.mark.parametrize("span", [0, _RECENT, _RECENT + 1, 2**31 - 1])
def test_the_longest_span_does_not_overflow(span):
  sequences = _encode(_log(("u", "a", 10), ("u", "b", 10 + span)))
  time = sequences.fields["time"]
  # Of a long log the last 29 years begin at 0.
  assert time.tolist() == [min(0, _RECENT - span), min(span, _RECENT)]
  assert (time + np.int64(sequences.epoch_seconds)).tolist() == [10, 10 + span]
  assert time.dtype == np.int32


def test_duplicates_are_counted_either_way():
  events = _log(("u", "a", 5), ("u", "a", 5), ("u", "a", 6))
  dropped = _encode(events)
  assert dropped.counts["dropped"] == {"exact duplicate": 1}
  kept = _encode(events, deduplicate=False)
  assert kept.counts["out"] == 3
  assert kept.counts["duplicates"] == dropped.counts["duplicates"] == 1


def test_actions_have_a_vocabulary_with_none_first():
  events = {**_log(("u", "a", 5), ("u", "b", 6), ("u", "c", 7))}
  events["action"] = ["view", None, "cart"]
  sequences = _encode(events)
  assert sequences.actions == ["", "cart", "view"]
  assert sequences.fields["action"].tolist() == [2, 0, 1]
  given_order = _encode(events, raw={"actions": ["view", "cart", "buy"]})
  assert given_order.actions == ["", "view", "cart", "buy"]
  assert given_order.fields["action"].tolist() == [1, 0, 2]
  with pytest.raises(ValueError, match=r"\['cart'\] are not in"):
    _encode(events, raw={"actions": ["view"]})


def test_values_are_float32_with_nan_for_none():
  events = _log(("u", "a", 5), ("u", "b", 6), ("u", "c", 7))
  values = _encode({**events, "value": ["1.5", "", "-2"]}).fields["value"]
  assert values.dtype == np.float32
  np.testing.assert_array_equal(values, np.float32([1.5, np.nan, -2]))
  with pytest.raises(ValueError, match="cannot read 'x' as value in row 3"):
    _encode({**events, "value": ["1", "2", "x"]})


def test_order_must_be_a_whole_number_in_every_row():
  events = _log(("u", "a", 5), ("u", "b", 6))
  with pytest.raises(ValueError, match="cannot read 'x' as order in row 2"):
    _encode({**events, "order": ["1", "x"]})
  with pytest.raises(ValueError, match="row 1 has no order"):
    _encode({**events, "order": [None, 1]})


@given(
  st.lists(
    st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 3))),
    min_size=1,
    max_size=30,
  )
)
def test_requests_are_numbered_within_the_user_by_first_event(rows):
  sequences = _encode(
    {
      "user": [r[0] for r in rows],
      "item": list(range(len(rows))),
      "request": pl.Series([r[1] for r in rows], dtype=pl.Int64),
    }
  )
  for user, name in enumerate(sequences.user_ids):
    numbers = {}
    expected = []
    for row, (owner, request) in enumerate(rows):
      if str(owner) == name:
        # An event without a request is one of its own.
        key = ("alone", row) if request is None else request
        expected.append(numbers.setdefault(key, len(numbers)))
    assert sequences.record(user)["request"].tolist() == expected


def test_items_meet_their_table():
  events = _log(("u", "1", 5), ("u", "2", 6), ("u", "3", 7))
  items = {
    "item": [3.0, 1.0, 1.0, None, 9.0],
    "title": ["three", "one", "uno", "nobody", "nine"],
    "price": [3, 1, 11, 0, 9],
  }
  sequences = _encode(events, items)
  assert sequences.items["item_id"].to_list() == ["1", "2", "3"]
  assert sequences.items["title"].to_list() == ["one", "", "three"]
  assert sequences.items["price"].to_list() == [1, None, 3]
  assert sequences.item_table == {
    "rows": 5,
    "rows_without_id": 1,
    "duplicate_rows": 1,
    "items_without_row": 1,
    "unseen_items": 1,
  }
  wider = _encode(events, items, keep_unseen_items=True)
  assert wider.items["title"].to_list() == ["one", "", "three", "nine"]
  with pytest.raises(ValueError, match="rename count"):
    _encode(events, {**items, "count": [0] * 5})


def test_the_gap_of_a_user_is_the_median_and_never_crosses_users():
  sequences = _encode(
    _log(("u", "a", 0), ("u", "b", 10), ("u", "c", 40), ("v", "a", 500))
  )
  assert sequences.median_gap_seconds(np.array([3, 1])) == 20
  assert sequences.median_gap_seconds(np.array([2, 1])) == 10
  assert sequences.median_gap_seconds(np.array([1, 1])) is None
  longer = _encode(_log(*(("u", n, t) for n, t in enumerate((0, 9, 12, 90)))))
  assert longer.median_gap_seconds(np.array([4])) == 9


def test_empty_logs_and_logs_that_become_empty_are_refused():
  with pytest.raises(ValueError, match="no events .log.csv"):
    _encode({"user": [], "item": []}, raw={"sources": {"log.csv": "ab"}})
  with pytest.raises(ValueError, match="2 no user id"):
    _encode({"user": ["", None], "item": ["a", "b"]})
  with pytest.raises(ValueError, match="2 user below min_user_events=9"):
    _encode(_log(("u", "a", 1), ("u", "b", 2)), min_user_events=9)
  with pytest.raises(ValueError, match="no column 'item'; it has user"):
    _encode({"user": ["u"]})


@pytest.mark.parametrize("unit", [None, "s"])
def test_a_mark_of_an_unknown_time_is_refused_or_dropped_when_empty(unit):
  log = _log(("u", "a", MOMENT), ("u", "b", -1), ("u", "c", MOMENT + 5))
  with pytest.raises(ValueError, match="1 of 3 timestamps.*is -1 in row 2"):
    _encode(log, raw={"timestamp_unit": unit})
  log["timestamp"][1] = None
  sequences = _encode(
    log, raw={"timestamp_unit": unit}, drop_missing_timestamps=True
  )
  assert sequences.epoch_seconds == MOMENT
  log = _log(("", "a", MOMENT), ("u", "b", MOMENT), ("u", "c", 0))
  with pytest.raises(ValueError, match="1 of 2 timestamps.*is 0 in row 3"):
    _encode(log, raw={"timestamp_unit": unit})


def test_words_for_none_are_no_ids_and_are_counted():
  words = ["nan", "NaN", "NULL", "None", "N/A", "<NA>"]
  users = [*words, "u", "u", "u", None]
  items = ["i"] * 6 + ["null", "i", "nano", "i"]
  table = {"item": ["i", "None"], "title": ["I", "N"]}
  found = _encode({"user": users, "item": items}, table)
  assert found.user_ids == ["u"]
  assert found.items["item_id"].to_list() == ["i", "nano"]
  dropped = found.counts["dropped"]
  assert sorted(dropped.values()) == [1, 1, 6]
  assert dropped["no user id"] == 1
  assert any("user id is a word for none" in reason for reason in dropped)
  assert found.item_table["rows_without_id"] == 1
  kept = _encode({"user": users, "item": items}, table, keep_null_words=True)
  assert kept.user_ids == [*words, "u"]
  assert kept.counts["dropped"] == {"no user id": 1}
  assert kept.items["item_id"].to_list() == ["i", "null", "nano"]
  assert kept.item_table["rows_without_id"] == 0


def test_times_that_nobody_can_read_are_dropped_where_that_is_wanted():
  log = _log(
    ("u", "a", "2023-11-18 11:29:17 UTC"),
    ("u", "b", "soon"),
    ("u", "c", ""),
    ("u", "d", "2023-11-18T13:29:18+02:00"),
    ("u", "e", "1970-01-01"),
  )
  wanted = {"drop_unreadable_timestamps": True}
  with pytest.raises(ValueError, match="'soon' as timestamp in row 2"):
    _encode(log)
  with pytest.raises(ValueError, match="1 of 5 events have no timestamp"):
    _encode(log, **wanted)
  found = _encode(log, **wanted, drop_missing_timestamps=True)
  assert _histories(found) == {
    "u": [("a", 1_700_306_957), ("d", 1_700_306_958)]
  }
  assert found.counts["dropped"] == {
    "unreadable timestamp": 1,
    "no timestamp": 1,
    "timestamp of 1970 or before, others of 1971 or later": 1,
  }
  untimed = _encode(log, ignore_timestamps=True)
  assert untimed.epoch_seconds is None and set(untimed.fields) == {"item"}
  assert untimed.fields["item"].tolist() == [1, 2, 3, 4, 5]
