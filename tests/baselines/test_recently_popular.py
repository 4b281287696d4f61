# SPDX-License-Identifier: Apache-2.0
"""Popularity in a window: counts of loops, and nothing of what comes later."""

import numpy as np
import pytest

from genrec_jax.baselines.recently_popular import RecentlyPopular
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask

_V = 6


def _events(seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 100, 60), rng.integers(1, _V + 1, 60)


def _asked(times):
  zeros = np.zeros(len(times), np.int32)
  record = {"user": np.array(0), "item": np.array([2], np.int32)}
  asked = np.array(times, np.int32)
  return Requests(zeros, zeros, [record] * len(times), asked, zeros)


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("window", [5, 40, 1000])
def test_counts_are_those_of_a_loop_over_earlier_events(window, step):
  times, items = _events()
  ranker = RecentlyPopular(
    times, items, _V, window_seconds=window, step_seconds=step
  )
  requests = _asked([0, 1, 6, 7, 50, 99, 100, 5000])
  ids, scores, _ = ranker.search(requests, _V + 1)
  untils = ranker.until(requests)
  end = max(times) + 1
  for row, asked in enumerate(requests.query_time.tolist()):
    moment = end if asked >= end else asked // step * step
    counts = {i: 0 for i in range(1, _V + 1)}
    for t, i in zip(times, items, strict=True):
      counts[i] += moment - window <= t < moment
    wanted = sorted((-n, i) for i, n in counts.items() if n)
    got = [i for i in ids[row].tolist() if i]
    assert got == [i for _, i in wanted]
    assert scores[row][: len(got)].tolist() == [-n for n, _ in wanted]
    before = [t for t in times if t < moment]
    assert untils[row] == max(before, default=np.iinfo(np.int32).min)
    assert untils[row] < asked


def test_what_comes_later_changes_nothing():
  times, items = _events()
  later = times >= 50
  other = np.where(later, items % _V + 1, items)
  options = {"window_seconds": 30, "step_seconds": 1}
  asked = _asked(range(0, 51, 5))
  one, two = (
    RecentlyPopular(times, x, _V, **options).search(asked, 3)
    for x in (items, other)
  )
  np.testing.assert_array_equal(one[0], two[0])
  np.testing.assert_array_equal(one[1], two[1])
  after = _asked([80])
  one, two = (
    RecentlyPopular(times, x, _V, **options).search(after, 3)
    for x in (items, other)
  )
  assert (one[1] != two[1]).any() or (one[0] != two[0]).any()


def test_masks_hide_and_bad_input_is_refused():
  times, items = _events()
  ranker = RecentlyPopular(times, items, _V)
  best = int(ranker.search(_asked([10**7]), 1)[0][0, 0])
  hidden = ItemMask.all_but([np.array([best])], _V)
  assert best not in ranker.search(_asked([10**7]), _V, hidden)[0]
  with pytest.raises(ValueError, match="window_seconds=0 and step_seconds=1"):
    RecentlyPopular(times, items, _V, window_seconds=0, step_seconds=1)
  with pytest.raises(ValueError, match="nothing is popular"):
    RecentlyPopular(times[:0], items[:0], _V)
