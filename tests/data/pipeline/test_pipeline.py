# SPDX-License-Identifier: Apache-2.0
"""Layouts, requests and batches: nothing held out leaks, nothing is lost."""

import itertools
import json
import multiprocessing

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.data import splits
from genrec_jax.data.dataset.requests import count_requests, iter_requests
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.pipeline.pipeline import training_batches


class Records:
  """Histories in memory: event e of user u is item 1000 (u + 1) + e."""

  def __init__(self, lengths, times=True):
    self.split = splits.LeaveOneOut()
    self._records = []
    for user, length in enumerate(lengths):
      place = np.arange(length, dtype=np.int32)
      record = {
        "user": np.array(user, np.int32),
        "item": 1000 * (user + 1) + place,
      }
      if times:
        record["time"] = (100 * place + user).astype(np.int32)
      self._records.append(record)

  def __len__(self):
    return len(self._records)

  def __getitem__(self, user):
    return self._records[user]

  def __repr__(self):
    return f"Records({[len(r['item']) for r in self._records]})"


def _batches(lengths, *, rows=2, row_length=8, max_length=6, seed=0, **kwargs):
  return training_batches(
    Records(lengths),
    NextItem(max_length),
    batch_size=rows,
    row_length=row_length,
    seed=seed,
    **kwargs,
  )


def _take(batches, count):
  taken = [next(batches) for _ in range(count)]
  batches.close()
  return taken


def _segments(batch):
  """Every packed user of a batch: its columns as arrays."""
  for row in range(len(batch["item_BL"])):
    segments = batch["segment_ids_BL"][row]
    for segment in range(1, segments.max() + 1):
      here = segments == segment
      yield {k: v[row][here] for k, v in batch.items()}


def test_an_example_is_the_recent_past_with_its_next_items():
  record = Records([10])[0]
  rows = NextItem(4).example(record, 8)
  np.testing.assert_array_equal(rows[:, 0], record["item"][3:7])
  np.testing.assert_array_equal(rows[:, 1], record["item"][4:8])
  np.testing.assert_array_equal(rows[:, 2], record["time"][3:7])
  np.testing.assert_array_equal(rows[:, 3], record["time"][4:8])
  assert not np.any(rows[:, 4])


@pytest.mark.parametrize(("end", "expected"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_short_histories(end, expected):
  assert len(NextItem(4).example(Records([10])[0], end)) == expected


def test_a_history_without_times_has_zeros():
  rows = NextItem(4).example(Records([5], times=False)[0], 5)
  assert not np.any(rows[:, 2:4])


@pytest.mark.slow
@settings(max_examples=25)
@given(
  lengths=st.lists(st.integers(0, 14), min_size=1, max_size=12).filter(
    lambda x: max(x) >= 4
  ),
  rows=st.integers(1, 3),
  row_length=st.integers(6, 12),
  seed=st.integers(0, 5),
)
def test_batches_hold_training_events_whole_users_and_nothing_else(
  lengths, rows, row_length, seed
):
  max_length = 6
  batches = _take(
    _batches(lengths, rows=rows, row_length=row_length, seed=seed), 4
  )
  records = Records(lengths)
  for batch in batches:
    assert all(v.shape == (rows, row_length) for v in batch.values())
    assert all(v.dtype == np.int32 for v in batch.values())
    empty = batch["segment_ids_BL"] == 0
    assert not np.any(batch["label_BL"][empty])
    for user in _segments(batch):
      (index,) = set(user["user_BL"].tolist())
      record = records[index]
      end = records.split.train_end(record)
      start = max(0, end - 1 - max_length)
      np.testing.assert_array_equal(
        user["item_BL"], record["item"][start : end - 1]
      )
      np.testing.assert_array_equal(
        user["label_BL"], record["item"][start + 1 : end]
      )
      np.testing.assert_array_equal(
        user["positions_BL"], np.arange(end - 1 - start)
      )


def test_every_user_is_read_once_an_epoch_in_another_order():
  lengths = [6] * 10
  users = [
    int(user["user_BL"][0])
    for batch in _take(_batches(lengths, rows=1, row_length=6), 20)
    for user in _segments(batch)
  ]
  assert sorted(users[:10]) == list(range(10)) == sorted(users[10:20])
  assert users[:10] != users[10:20]


def test_readers_have_disjoint_users_that_are_all_users():
  seen = []
  for index in range(2):
    batches = _batches([6] * 9, rows=2, row_length=6, reader=index, readers=2)
    taken = _take(batches, 12)
    assert all(len(b["item_BL"]) == 1 for b in taken)
    seen.append({int(u["user_BL"][0]) for b in taken for u in _segments(b)})
  assert not seen[0] & seen[1]
  assert seen[0] | seen[1] == set(range(9))


def test_a_saved_place_continues_bitwise():
  lengths = list(range(3, 30))
  batches = _batches(lengths)
  for _ in range(7):
    next(batches)
  place = json.loads(json.dumps(batches.get_state()))
  expected = _take(batches, 9)
  again = _batches(lengths)
  again.set_state(place)
  for a, b in zip(expected, _take(again, 9), strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


def test_what_cannot_be_is_an_error():
  with pytest.raises(ValueError, match="multiple of the 2 readers"):
    _batches([6], rows=3, readers=2)
  with pytest.raises(ValueError, match="row_length=4 is shorter than"):
    _batches([6], row_length=4)
  with pytest.raises(ValueError, match="nothing to train on"):
    _batches([1, 3, 3])


def test_requests_are_the_targets_with_all_that_was_before():
  records = Records([2, 5, 9])
  for part, back in (("validation", 2), ("test", 1)):
    requests = list(iter_requests(records, part, batch_size=1))
    assert [int(r.user[0]) for r in requests] == [1, 2]
    for request in requests:
      record = records[int(request.user[0])]
      position = len(record["item"]) - back
      assert request.event[0] == position
      assert request.target[0] == record["item"][position]
      assert request.query_time[0] == record["time"][position]
      np.testing.assert_array_equal(
        request.history[0]["item"], record["item"][:position]
      )
    assert count_requests(records, part) == 2


def test_drawn_users_are_the_same_for_a_seed():
  records = Records([5] * 50)

  def users(seed):
    drawn = iter_requests(records, "test", 7, max_users=20, seed=seed)
    return list(itertools.chain.from_iterable(r.user.tolist() for r in drawn))

  assert users(1) == users(1) != users(2)
  assert len(set(users(1))) == 20


def test_users_are_drawn_among_those_with_a_target():
  records = Records([2, 5, 1, 9, 2, 7])  # of at least 3 events: 1, 3 and 5
  for seed in range(5):
    drawn = iter_requests(records, "test", 7, max_users=2, seed=seed)
    users = [user for r in drawn for user in r.user.tolist()]
    assert len(users) == 2 and set(users) < {1, 3, 5}
  (every,) = iter_requests(records, "test", 7, max_users=4)
  assert every.user.tolist() == [1, 3, 5]


def test_a_request_batch_is_the_recent_history_asked_at_the_request():
  records = Records([3, 9])
  (requests,) = iter_requests(records, "test", 8)
  batch = NextItem(4).request_batch(requests)
  np.testing.assert_array_equal(batch["item_BL"][0], [1000, 1001, 0, 0])
  np.testing.assert_array_equal(batch["item_BL"][1], [2004, 2005, 2006, 2007])
  np.testing.assert_array_equal(
    batch["segment_ids_BL"], [[1, 1, 0, 0], [1] * 4]
  )
  np.testing.assert_array_equal(
    batch["query_time_BL"][1], records[1]["time"][5:9]
  )
  assert batch["query_time_BL"][0, 1] == records[0]["time"][2]
  assert not np.any(batch["label_BL"])


def test_no_process_is_started():
  batches = _batches([6] * 4)
  next(batches)
  assert not multiprocessing.active_children()
  batches.close()
