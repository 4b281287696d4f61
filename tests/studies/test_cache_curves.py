# SPDX-License-Identifier: Apache-2.0
"""Pages, caches and visits, against lists that are walked through."""

import numpy as np
import pytest

from genrec_jax.paging import Chain, PageTables
from studies import cache_curves
from studies.cache_curves import Requests


def test_pages_are_those_of_the_cache_itself():
  lengths = np.array([0, 1, 2, 16, 17, 18, 40, 300])
  for page in (16, 32):
    tables = PageTables(1000, page)
    for user, length in enumerate(lengths.tolist()):
      # All but the last of what a window of 50 holds.
      count = max(0, min(length, 50) - 1)
      tokens = np.zeros((count, 1), np.uint8)
      tables.commit(tables.lease(user, Chain(tokens, page)))
    used = tables.num_pages - tables.num_free
    assert cache_curves.pages(lengths, 50, page).sum() == used
    found = cache_curves.memory(lengths, 50)
    assert found[f"pages of {page}"]["places"] == used * page
  assert found["padded"]["places"] == 8 * 50
  assert found["needed"] == 0 + 0 + 1 + 15 + 16 + 17 + 39 + 49
  # Pages of the whole window are as large as padded rows, for those who have
  # one.
  assert found["pages of 128"]["places"] == 6 * 128


def _by_list(requests, room):
  """The cache as a list, oldest first."""
  cache, hits, first = [], 0, int(0.25 * len(requests))
  pairs = zip(requests.user_N.tolist(), requests.pages_N.tolist(), strict=True)
  for place, (user, size) in enumerate(pairs):
    there = [s for u, s in cache if u == user]
    if place >= first and there and there[0] > 0:
      hits += 1
    if size > room:
      continue
    cache = [(u, s) for u, s in cache if u != user] + [(user, size)]
    while sum(s for _, s in cache) > room:
      cache.pop(0)
  return hits / (len(requests) - first)


@pytest.mark.parametrize("room", [0, 5, 17, 60])
def test_the_cache_is_the_one_that_is_walked_through(room):
  draw = np.random.default_rng(room)
  users = draw.integers(0, 12, 300)
  # Histories grow, and some are too long for it.
  sizes = np.minimum(np.arange(300) // 40 + draw.integers(0, 5, 300), 9)
  requests = Requests(users, sizes)
  assert cache_curves.lru_share(requests, room) == _by_list(requests, room)


def test_che_is_near_what_is_simulated_and_nobody_without_pages_is_there():
  draw = np.random.default_rng(0)
  pages = draw.integers(0, 9, 400)
  rates = draw.permutation(1.0 / np.arange(1, 401))
  rows = cache_curves.curve(rates, pages, 40_000)
  assert [row["room"] for row in rows] == [*cache_curves.ROOMS]
  for row in rows:
    assert row["simulated"] == pytest.approx(row["expected"], abs=0.015)
  assert cache_curves.expected(rates, np.zeros(400, int), 5) == 0.0
  everybody = cache_curves.expected(rates, pages, int(pages.sum()))
  assert everybody == pytest.approx(rates[pages > 0].sum() / rates.sum())


def test_visits_by_hand():
  users = np.array([0, 0, 0, 0, 1, 1])
  times = np.array([0, 10, 500, 505, 5, 1000])
  found = cache_curves.visits(users, times, 50, 2, gap_seconds=100)
  assert found.user_N.tolist() == [0, 1, 0, 1]
  # Events before: 0, 0, 2, 1, of which all but the last are kept.
  assert found.pages_N.tolist() == [0, 0, 1, 0]
  found = cache_curves.visits(users, times, 50, 2, gap_seconds=0)
  assert found.user_N.tolist() == [0, 1, 0, 0, 0, 1]
  assert found.pages_N.tolist() == [0, 0, 0, 1, 1, 0]


def test_a_log_says_who_comes_again():
  users = np.array([0, 1, 0, 2, 0])
  requests = Requests(users, np.array([1, 2, 2, 1, 3]))
  found = cache_curves.trace_curve(requests, 4, rooms=(1.0,))
  assert found["requests"] == 5 and found["users"] == 3
  assert found["users_who_come_again"] == 1
  assert found["first_requests"] == 0.6
  # Room for 3 + 2 + 1 pages: all of the last four find whom they can.
  assert found["rooms"][0]["log"] == 0.5
  assert found["rooms"][0]["independent"] == 1.0


def test_lists_made_ahead_cost_less_where_many_ask():
  assert cache_curves.precomputed(100, 2000, 1) == pytest.approx(0.95)
  assert cache_curves.precomputed(100, 100, 1) == 0
  assert cache_curves.precomputed(100, 50, 1) == -1
  assert cache_curves.precomputed(100, 100, 4, 2) == pytest.approx(0.5)
