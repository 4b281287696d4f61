# SPDX-License-Identifier: Apache-2.0
"""Gaps in another order: what stays, what goes, and that requests agree."""

import numpy as np
import pytest

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.layouts.shuffled_gaps import shuffled_gaps

# Gaps are powers of two: a sum of some says which.
_TIMES = np.cumsum([100, *(2**i for i in range(11))]).astype(np.int32)


def _record(user=0):
  items = np.arange(1, len(_TIMES) + 1, dtype=np.int32)
  return {"user": np.array(user, np.int32), "item": items, "time": _TIMES}


def test_ends_and_gaps_stay_and_their_order_does_not():
  found = shuffled_gaps(_TIMES, 0, 3)
  assert found.dtype == np.int32
  assert found[0] == _TIMES[0] and found[-1] == _TIMES[-1]
  gaps = np.diff(found)
  assert sorted(gaps) == sorted(np.diff(_TIMES))
  assert (gaps != np.diff(_TIMES)).sum() > 5
  np.testing.assert_array_equal(found, shuffled_gaps(_TIMES, 0, 3))
  others = [shuffled_gaps(_TIMES, *who) for who in ((0, 4), (1, 3), (0, -1))]
  assert all((found != other).any() for other in others)
  # A gap of more than an int32 holds.
  wide = np.array([-2_000_000_000, 1_000_000_000, 2_000_000_000], np.int32)
  found = shuffled_gaps(wide, 0, 0).astype(np.int64)
  assert sorted(np.diff(found)) == [1_000_000_000, 3_000_000_000]
  for short in ([], [7]):
    times = np.array(short, np.int32)
    np.testing.assert_array_equal(shuffled_gaps(times, 0, 0), times)


def test_every_gap_stands_everywhere_alike():
  first = [np.diff(shuffled_gaps(_TIMES, 0, u))[0] for u in range(1100)]
  counts = np.unique(first, return_counts=True)[1]
  assert len(counts) == 11 and counts.min() > 60 and counts.max() < 145


def test_training_and_requests_see_the_same_times_and_all_else_stays():
  plain, other = NextItem(20), NextItem(20, shuffled_gaps=5)
  record, end = _record(), len(_TIMES)
  rows, moved = plain.example(record, end), other.example(record, end)
  np.testing.assert_array_equal(rows[:, [0, 1, 4]], moved[:, [0, 1, 4]])
  wanted = shuffled_gaps(_TIMES, 5, 0)
  np.testing.assert_array_equal(moved[:, 2], wanted[:-1])
  np.testing.assert_array_equal(moved[:, 3], wanted[1:])
  np.testing.assert_array_equal(record["time"], _TIMES)
  # The last event is what is asked for: its gap has moved too.
  batch = other.request_batch(make_requests([(record, end - 1)]))
  for name, column in (("item", 0), ("time", 2), ("query_time", 3)):
    found = batch[f"{name}_BL"][0, : end - 1]
    np.testing.assert_array_equal(found, moved[:, column])
  short = NextItem(4, shuffled_gaps=5)
  np.testing.assert_array_equal(short.example(record, end), moved[-4:])


def test_data_without_times_have_no_gaps():
  record = {k: v for k, v in _record().items() if k != "time"}
  rows = NextItem(8, shuffled_gaps=0).example(record, 5)
  np.testing.assert_array_equal(rows, NextItem(8).example(record, 5))


@pytest.mark.parametrize(
  "options",
  [
    {"shuffled_gaps": 0, "calendar": True},
    {"shuffled_gaps": 0, "next_moment": True},
    {"shuffled_gaps": -1},
  ],
)
def test_what_asks_for_the_times_that_were_is_refused(options):
  with pytest.raises(ValueError, match="shuffled_gaps=-?[01] must be a seed"):
    NextItem(8, **options)
