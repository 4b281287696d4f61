# SPDX-License-Identifier: Apache-2.0
"""Impressions: requests, their histories without siblings, and their labels."""

import numpy as np
import polars as pl
import pytest

from genrec_jax.data import schema
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import (
  iter_impressions,
  no_impressions,
  request_numbers,
)
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import GlobalTime, LeaveOneOut
from tests.data.layouts.requests_by_hand import FEEDBACK, OneUser

_START = 1_600_000_000
_FEEDBACK = Feedback(("click", "like"))


class _Log:
  """A log of rows (user, item, seconds, action, request)."""

  def __init__(self, rows):
    self.rows = rows

  def read(self):
    columns = ("user", "item", "timestamp", "action", "request")
    table = pl.DataFrame(self.rows, schema=columns, orient="row")
    return schema.RawLog(
      events=table.with_columns(pl.col("timestamp") + _START)
    )

  def checksums(self):
    return {}


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  rows = [
    # Two lists before the cuts, then requests 3 (validation), 4 and 5.
    ("u", "a", 0, "like|untimed", "h"),
    ("u", "b", 0, "untimed", "h"),
    ("u", "c", 10, "click", "r1"),
    ("u", "d", 10, "skip", "r1"),
    ("u", "e", 20, "click|like", "r2"),
    # A request that the cut at 30 goes through, and an event without label.
    ("u", "f", 29, "skip", "r3"),
    ("u", "g", 30, "click", "r3"),
    ("u", "h", 31, None, "r3"),
    ("u", "a", 40, "like", "r4"),
    ("u", "b", 40, "skip", "r4"),
    ("u", "c", 40, "click", "r4"),
    ("v", "a", 41, "skip", "r1"),
  ]
  directory = tmp_path_factory.mktemp("log") / "data"
  split = GlobalTime(
    validation_start=str(_START + 30), test_start=str(_START + 40)
  )
  prepare(_Log(rows), split, directory)
  return Histories(directory)


def _names(histories, ids):
  table = pl.read_parquet(histories.directory / "catalog.parquet")
  names = ["", *table["item_id"].to_list()]
  return "".join(names[i] for i in ids)


def _one(histories, part, **kwargs):
  (found,) = iter_impressions(
    histories, part, _FEEDBACK, 8, kwargs.pop("num_candidates", 4), **kwargs
  )
  return found


def test_requests_of_a_part_in_order_without_untimed_or_unlabelled(histories):
  train = _one(histories, "train")
  rows = [_names(histories, row) for row in train.candidates]
  # Of r3 only f trains; the lists are history alone.
  assert rows == ["cd", "e", "f"]
  assert train.labels[:, :2].tolist() == [[1, 0], [3, 0], [0, 0]]
  assert train.known.sum(1).tolist() == [2, 1, 1]
  assert train.event[:2].tolist() == [[2, 3, -1, -1], [4, -1, -1, -1]]
  assert [_names(histories, r["item"]) for r in train.history] == [
    "ab",
    "abcd",
    "abcde",
  ]
  assert train.query_time.tolist() == [10, 20, 29]


def test_no_sibling_is_in_the_history_on_either_side_of_a_cut(histories):
  validation = _one(histories, "validation")
  assert _names(histories, validation.candidates[0]) == "g"
  # f is a sibling of g that trains; h, without a label, is none's candidate.
  assert _names(histories, validation.history[0]["item"]) == "abcde"
  assert validation.query_time.tolist() == [29]


def test_a_long_request_is_cut_and_a_user_without_history_is_asked(histories):
  test = _one(histories, "test", num_candidates=2)
  rows = [_names(histories, row) for row in test.candidates]
  assert rows == ["ab", "c", "a"]
  assert test.user.tolist() == [0, 0, 1]
  assert _names(histories, test.history[1]["item"]) == "abcdefgh"
  assert len(test.history[2]["item"]) == 0
  assert test.labels.tolist() == [[2, 0], [1, 0], [0, 0]]


def test_frozen_histories_end_where_the_part_begins():
  user = OneUser(end=4)
  running, frozen = (
    next(iter_impressions(user, "test", FEEDBACK, 9, 2, frozen=still))
    for still in (False, True)
  )
  assert [len(r["item"]) for r in running.history] == [4, 5, 6]
  assert [r["item"].tolist() for r in frozen.history] == [[1, 2, 3, 4]] * 3
  # All else is what is asked, and when.
  for name in ("user", "query_time", "candidates", "labels", "known", "event"):
    same = [getattr(x, name) for x in (running, frozen)]
    np.testing.assert_array_equal(*same, err_msg=name)


def test_batches_hold_all_and_drawn_users_are_users_that_are_asked(histories):
  batches = list(iter_impressions(histories, "test", _FEEDBACK, 1, 4))
  assert [len(b) for b in batches] == [1, 1]
  drawn = _one(histories, "validation", max_users=1)
  assert drawn.user.tolist() == [0]


def test_times_or_places_stand_for_requests_where_there_are_none():
  record = {"item": np.zeros(4), "time": np.array([5, 5, 7, 9], np.int32)}
  assert request_numbers(record).tolist() == [0, 0, 1, 2]
  del record["time"]
  assert request_numbers(record).tolist() == [0, 1, 2, 3]


def test_shapes_without_data_are_those_of_data(histories):
  found, empty = _one(histories, "train"), no_impressions(3, 4)
  for name in ("user", "query_time", "candidates", "labels", "known", "event"):
    a, b = getattr(found, name), getattr(empty, name)
    assert (a.shape, a.dtype) == (b.shape, b.dtype), name
  assert len(empty) == len(empty.history) == 3


def test_wrong_arguments_are_named(histories):
  with pytest.raises(ValueError, match="part must be one of .*'dev'"):
    next(iter_impressions(histories, "dev", _FEEDBACK, 1, 1))
  with pytest.raises(ValueError, match="num_candidates must be at least 1"):
    next(iter_impressions(histories, "test", _FEEDBACK, 1, 0))
  with pytest.raises(ValueError, match="no action 'share'"):
    next(iter_impressions(histories, "test", Feedback(("share",)), 1, 1))


def test_ratings_of_at_least_four_are_the_action_and_ties_a_request(tmp_path):
  rows = {
    "user": ["u"] * 6,
    "item": list("abcdef"),
    "timestamp": [_START, _START, _START + 5, _START + 9, _START + 9, _START],
    "value": [5.0, 3.5, 4.0, 1.0, None, None],
  }

  class Ratings(_Log):
    def read(self):
      return schema.RawLog(events=pl.DataFrame(rows))

  prepare(Ratings([]), LeaveOneOut(), tmp_path / "data")
  histories = Histories(tmp_path / "data")
  feedback = Feedback(("liked",), min_value=4.0)
  (train,) = iter_impressions(histories, "train", feedback, 8, 3)
  # f, at the time of a and b, has no rating; the last two do not train.
  assert [_names(histories, row) for row in train.candidates] == ["ab", "c"]
  assert train.labels.tolist() == [[1, 0, 0], [1, 0, 0]]
  assert _names(histories, train.history[1]["item"]) == "abf"
  (validation,) = iter_impressions(histories, "validation", feedback, 8, 3)
  assert _names(histories, validation.candidates[0]) == "d"
  assert validation.labels.tolist() == [[0, 0, 0]]
  assert list(iter_impressions(histories, "test", feedback, 8, 3)) == []


def test_sessions_of_the_simulator_are_requests(tmp_path):
  source = Synthetic(num_users=20, num_items=30, mean_events=12.0)
  prepare(source, GlobalTime(), tmp_path / "data")
  histories = Histories(tmp_path / "data")
  feedback = Feedback(("cart", "purchase"))
  seen = 0
  for part in ("train", "validation", "test"):
    for batch in iter_impressions(histories, part, feedback, 4, 3):
      seen += int(batch.known.sum())
      for user, history, event in zip(
        batch.user, batch.history, batch.event, strict=True
      ):
        request = histories[int(user)]["request"]
        assert not set(request[event[event >= 0]]) & set(history["request"])
  assert seen == histories.manifest.num_events
