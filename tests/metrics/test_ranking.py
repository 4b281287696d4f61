# SPDX-License-Identifier: Apache-2.0
"""Ranks and metrics against the definition: all items scored, sorted by hand.

The reference ranks a target by counting, over the whole catalogue, the allowed
items whose score is at least the target's; it never makes a list.
"""

import itertools
import math

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.metrics.ranking import (
  MISS,
  RankingMetrics,
  by_chance,
  per_request,
  rank_of_target,
)

NAN, INF = math.nan, math.inf


def _list_of(scores: list[float], allowed: list[bool], k: int):
  """Top-k list by Python's sort: score descending, then lower id."""
  found = [
    (-s, i + 1)
    for i, (s, ok) in enumerate(zip(scores, allowed, strict=True))
    if ok and not math.isnan(s) and s != -INF
  ]
  found = sorted(found)[:k]
  found += [(INF, 0)] * (k - len(found))
  ids = np.array([[i for _, i in found]], np.int32)
  return ids, np.array([[-s for s, _ in found]], np.float32)


def _rank_by_counting(scores, allowed, target):
  s_target = scores[target - 1]
  if not allowed[target - 1] or math.isnan(s_target) or s_target == -INF:
    return MISS
  return sum(
    ok and s >= s_target for s, ok in zip(scores, allowed, strict=True)
  )


# Few distinct scores: most lists have ties.
_scores = st.lists(
  st.sampled_from([0.0, 1.0, 2.0, 2.5, -3.0, NAN, INF, -INF]),
  min_size=1,
  max_size=12,
)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), scores=_scores)
def test_rank_equals_counting(data, scores):
  n = len(scores)
  allowed = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
  target = data.draw(st.integers(1, n))
  k = data.draw(st.integers(1, n + 2))
  ids, list_scores = _list_of(scores, allowed, k)
  rank = rank_of_target(ids, list_scores, np.array([target], np.int32))[0]
  expected = _rank_by_counting(scores, allowed, target)
  # A list of k places resolves ranks up to k - 1.
  assert rank == (expected if expected < k else MISS)


@settings(max_examples=200, deadline=None)
@given(
  ranks=st.lists(st.one_of(st.integers(1, 250), st.just(MISS)), max_size=20),
  cuts=st.lists(st.integers(0, 20), max_size=3),
)
def test_metrics_equal_definition_however_batched(ranks, cuts):
  ks = (1, 5, 200)
  state = RankingMetrics.empty(ks)
  bounds = sorted({0, len(ranks), *(min(c, len(ranks)) for c in cuts)})
  for low, high in zip(bounds, bounds[1:], strict=False):
    part = np.array(ranks[low:high], np.int32)
    state = state.merge(RankingMetrics.from_batch(part, ks))
  got = state.compute()
  count = max(len(ranks), 1)
  for k in ks:
    hits = [r for r in ranks if r <= k]
    assert got[f"hr@{k}"] == pytest.approx(len(hits) / count)
    assert got[f"mrr@{k}"] == pytest.approx(sum(1 / r for r in hits) / count)
    ndcg = sum(1 / math.log2(r + 1) for r in hits) / count
    assert got[f"ndcg@{k}"] == pytest.approx(ndcg)


def test_constant_scorer_is_no_better_than_the_last_place():
  ids, scores = _list_of([1.0] * 30, [True] * 30, 11)
  target = np.array([1], np.int32)
  ranks = rank_of_target(ids, scores, target)
  assert RankingMetrics.from_batch(ranks, (10,)).compute()["hr@10"] == 0
  ids, scores = _list_of([1.0] * 5, [True] * 5, 6)
  assert rank_of_target(ids, scores, target).tolist() == [5]


def test_hand_example():
  ranks = np.array([1, 3, 11, MISS], np.int32)
  got = RankingMetrics.from_batch(ranks, (10,)).compute()
  assert got["hr@10"] == 0.5
  assert got["ndcg@10"] == pytest.approx((1 + 0.5) / 4)
  assert got["mrr@10"] == pytest.approx((1 + 1 / 3) / 4)


def test_unknown_target_never_matches_the_fill():
  ids = np.zeros((1, 3), np.int32)
  scores = np.array([[2.0, 1.0, 0.0]], np.float32)
  assert rank_of_target(ids, scores, np.zeros(1, np.int32))[0] == MISS


def test_where_and_weights():
  ranks = np.array([1, 2, 1, MISS], np.int32)
  where = np.array([True, True, False, True])
  weights = np.array([2.0, 1.0, 9.0, 1.0])
  state = RankingMetrics.from_batch(ranks, (1,), where=where, weights=weights)
  assert state.count == 4.0
  assert state.compute()["hr@1"] == 0.5
  nothing = RankingMetrics.from_batch(ranks, (1,), where=np.zeros(4, bool))
  assert set(nothing.compute().values()) == {0.0}


def test_per_request_values_average_to_the_metrics():
  ranks = np.array([1, 7, 200, 201, MISS], np.int32)
  values = per_request(ranks)
  metrics = RankingMetrics.from_batch(ranks).compute()
  assert values.keys() == metrics.keys()
  for name, value in values.items():
    assert value.mean() == pytest.approx(metrics[name])


def test_merge_refuses_other_cut_offs():
  with pytest.raises(ValueError, match="same ks"):
    RankingMetrics.empty((1,)).merge(RankingMetrics.empty((2,)))


def test_chance_is_the_mean_over_all_orders():
  found = by_chance(4, (2, 10))
  orders = list(itertools.permutations(range(4)))
  ranks = np.array([order.index(2) + 1 for order in orders])
  for name, values in per_request(ranks, (2, 10)).items():
    assert found[name] == pytest.approx(values.mean())
  assert found["hr@2"] == 0.5 and found["hr@10"] == 1
