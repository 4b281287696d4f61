# SPDX-License-Identifier: Apache-2.0
"""What lists find of baskets, by a loop over places."""

import math

import numpy as np
import pytest

from genrec_jax.metrics.found_items import found_items


def _by_hand(places, right, k):
  hits, seen = [], set()
  for r, item in enumerate(places[:k], start=1):
    if item in right and item not in seen:
      hits.append(r)
    seen.add(item)
  best = min(k, len(right))
  ideal = sum(1 / math.log2(r + 1) for r in range(1, best + 1))
  return {
    f"recall@{k}": len(hits) / best,
    f"ndcg@{k}": sum(1 / math.log2(r + 1) for r in hits) / ideal,
    f"hr@{k}": float(bool(hits)),
  }


def test_metrics_are_those_of_a_loop():
  rng = np.random.default_rng(0)
  # Places that are empty, and items that come twice.
  lists = rng.integers(0, 15, (60, 6))
  right = [
    rng.choice(np.arange(1, 15), rng.integers(1, 9), replace=False)
    for _ in lists
  ]
  found = found_items(lists, right, (1, 3, 6), 14)
  for k in (1, 3, 6):
    for row, (places, items) in enumerate(zip(lists, right, strict=True)):
      for name, value in _by_hand(places.tolist(), {*items}, k).items():
        assert found[name][row] == pytest.approx(value), (name, row)
  assert found["recall@3"].max() == 1 and found["ndcg@6"].max() > 0.8


def test_what_cannot_be_measured_is_refused():
  with pytest.raises(ValueError, match="list 1 has no right item"):
    found_items(
      np.ones((2, 3), int), [np.array([1]), np.array([], int)], (1,), 9
    )
  with pytest.raises(ValueError, match="lists of 3 places cannot give"):
    found_items(np.ones((1, 3), int), [np.array([1])], (5,), 9)
