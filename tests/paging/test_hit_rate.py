# SPDX-License-Identifier: Apache-2.0
"""The formula beside caches that are simulated."""

import collections

import jaxtyping
import numpy as np
import pytest

from genrec_jax.paging import Chain, PageTables, lru_hit_rate, lru_hits


def _zipf(count, exponent=1.0):
  rates = 1.0 / np.arange(1, count + 1) ** exponent
  return rates / rates.sum()


def _simulated(rates, room, sizes, requests=200_000, seed=0):
  """Share of requests that find their key, behind the time it takes to fill."""
  draw = np.random.default_rng(seed)
  cache, used, hits = collections.OrderedDict(), 0, 0
  asked = draw.choice(len(rates), requests, p=rates).tolist()
  for number, key in enumerate(asked):
    if key in cache:
      hits += number >= requests // 4
    else:
      cache[key] = sizes[key]
      used += sizes[key]
    cache.move_to_end(key)
    while used > room:
      used -= cache.popitem(last=False)[1]
  return hits / (requests - requests // 4)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_it_is_what_a_cache_finds_of_zipf_users(share):
  rates = _zipf(1000)
  sizes = np.random.default_rng(1).integers(1, 9, 1000)
  room = share * sizes.sum()
  expected = lru_hit_rate(rates, room, sizes)
  found = _simulated(rates, room, sizes.tolist())
  assert found == pytest.approx(expected, abs=0.01)


def test_pages_find_as_much(monkeypatch):
  """Whole users, by the tables themselves; all are of four pages."""
  # Types of every call take longer to check than the calls themselves.
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  rates, tables, hits = _zipf(300, 0.8), PageTables(4 * 60, 2), 0
  asked = np.random.default_rng(2).choice(300, 30_000, p=rates)
  tokens = np.arange(8, dtype=np.uint8)[:, None]
  for key in asked.tolist():
    lease = tables.lease(key, Chain(tokens, 2, str(key).encode()))
    hits += lease.reused == 8
    tables.commit(lease)
  assert hits / 30_000 == pytest.approx(lru_hit_rate(rates, 60), abs=0.01)


def test_what_follows_from_the_formula():
  # Of equal keys the room is the chance, in any unit of the rates.
  np.testing.assert_allclose(lru_hits(np.full(8, 1e-9), 2.0), 0.25)
  rates = np.array([3.0, 1.0, 0.0, 1e-6])
  hits = lru_hits(rates, 1.5)
  assert hits.sum() == pytest.approx(1.5) and hits[2] == 0
  assert hits[0] > hits[1] > hits[3] > 0
  assert lru_hits(rates, 3).tolist() == [1, 1, 0, 1]
  assert lru_hits(rates, 0).tolist() == [0, 0, 0, 0]
  assert lru_hit_rate(rates, 3) == 1 and lru_hit_rate(np.zeros(3), 2) == 0
  # One that takes all of the room counts as much as its size.
  assert lru_hit_rate(np.ones(2), 1, np.array([1.0, 9.0])) == pytest.approx(0.1)
  with pytest.raises(ValueError, match="negative"):
    lru_hits(np.array([-1.0]), 1)
