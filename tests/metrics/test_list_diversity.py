# SPDX-License-Identifier: Apache-2.0
"""Diversity within a list against loops over its pairs."""

import itertools

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.metrics.list_diversity import (
  cosine_distances,
  hamming_distances,
  intra_list_diversity,
  redundancy,
)
from genrec_jax.metrics.lists import first_places
from genrec_jax.metrics.ranking import per_request, rank_of_target

_V, _K = 8, 5
_list = st.lists(st.integers(-1, _V), min_size=_K, max_size=_K)


def _vectors(seed):
  vectors = np.random.default_rng(seed).integers(-2, 3, (_V + 1, 2))
  vectors[3] = 0  # of unknown content
  return vectors.astype(np.float32)


def _cosine(a, b):
  norms = np.linalg.norm(a) * np.linalg.norm(b)
  return float(a @ b / norms) if norms else None


@settings(max_examples=300, deadline=None)
@given(row=_list, seed=st.integers(0, 20))
def test_diversity_is_the_mean_over_known_pairs(row, seed):
  vectors = _vectors(seed)
  items = [i for i in row if i > 0]
  cosines = [
    _cosine(vectors[a], vectors[b]) for a, b in itertools.combinations(items, 2)
  ]
  known = [1 - c for c in cosines if c is not None]
  got = intra_list_diversity(np.array([row]), vectors)[0]
  if known:
    assert got == pytest.approx(sum(known) / len(known), abs=1e-6)
  elif len(items) == 1:
    assert got == 0
  else:
    assert np.isnan(got)


@settings(max_examples=300, deadline=None)
@given(
  row=_list, seed=st.integers(0, 20), above=st.sampled_from([-0.5, 0.0, 0.9])
)
def test_redundancy_looks_at_earlier_places(row, seed, above):
  vectors = _vectors(seed)
  items = [i for i in row if i > 0]
  redundant = 0
  for place, item in enumerate(items):
    cosines = [_cosine(vectors[item], vectors[j]) for j in items[:place]]
    alike = any(c is not None and c > above + 1e-9 for c in cosines)
    redundant += alike or item in items[:place]
  # 1e-9: a cosine of 0 is 0 or a rounding of it, on either side of the bound.
  got = redundancy(np.array([row]), vectors, above + 1e-9)[0]
  if items:
    assert got == redundant / len(items)
  else:
    assert np.isnan(got)


def test_rectools_documented_values():
  features = np.array([[0, 0], [0, 0], [0, 1], [1, 1], [0, 0]], np.float32)
  lists = np.array([[1, 2, 3], [1, 4, 0]])
  for k, expected in ((1, [0, 0]), (2, [1, 0]), (3, [4 / 3, 0])):
    got = intra_list_diversity(
      first_places(lists, k, 4), features, hamming_distances
    )
    assert got == pytest.approx(expected)


def test_the_order_and_the_length_of_vectors_have_no_say():
  rng = np.random.default_rng(1)
  vectors = rng.normal(size=(9, 4))
  orders = np.array(list(itertools.permutations([2, 5, 7, 8])))
  values = intra_list_diversity(orders, vectors)
  assert np.ptp(values) < 1e-12
  longer = vectors * rng.uniform(1, 9, (9, 1))
  np.testing.assert_allclose(intra_list_diversity(orders, longer), values)


def test_vectors_of_zeros_and_features_with_a_gap_are_unknown():
  vectors = np.array([[[1.0, 0.0], [0.0, 0.0]]])
  assert np.isnan(cosine_distances(vectors)).tolist() == (
    [[[False, True], [True, True]]]
  )
  vectors[0, 1] = [1.0, np.nan]
  assert np.isnan(hamming_distances(vectors)).tolist() == (
    [[[False, True], [True, True]]]
  )


def test_two_lists_of_equal_ndcg_need_not_be_equally_diverse():
  """Accuracy metrics see the place of the target and nothing else."""
  # Items 1 to 4 are one text, 5 to 8 are four.
  vectors = np.concatenate(
    [np.zeros((1, 4)), np.tile(np.eye(4)[:1], (4, 1)), np.eye(4)]
  )
  lists = np.array([[2, 1, 3, 4], [6, 1, 7, 8]])
  scores = np.tile(np.array([[4.0, 3.0, 2.0, 1.0]]), (2, 1))
  ranks = rank_of_target(lists, scores, np.array([1, 1]))
  for name, (one, other) in per_request(ranks, (1, 3, 5)).items():
    assert one == other, name
  assert per_request(ranks, (3,))["ndcg@3"][0] > 0
  assert intra_list_diversity(lists, vectors).tolist() == [0, 1]
  assert redundancy(lists, vectors).tolist() == [0.75, 0]


def test_a_threshold_is_a_cosine():
  with pytest.raises(ValueError, match="above=1"):
    redundancy(np.array([[1]]), np.ones((2, 2)), 1.0)
