# SPDX-License-Identifier: Apache-2.0
"""The host's top-k against a sort of (score, index) pairs."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from genrec_jax.baselines.top_k import top_k

# Few distinct values: most rows have ties, signed zeros among them.
_SCORES = st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1.0, 3.25, np.nan])


def _sorted(score_V, k, allowed_V):
  pairs = [
    (-float(score), i)
    for i, score in enumerate(score_V)
    if i and allowed_V[i] and not np.isnan(score) and score != -np.inf
  ]
  best = sorted(pairs)[:k]
  fill = k - len(best)
  return [i for _, i in best] + [0] * fill, [-s for s, _ in best] + [
    -np.inf
  ] * fill


@given(
  st.lists(st.tuples(_SCORES, st.booleans()), min_size=1, max_size=30),
  st.integers(1, 40),
  st.booleans(),
)
def test_equals_a_sort_with_ties_to_the_lower_index(entries, k, masked):
  score_V = np.array([score for score, _ in entries], np.float32)
  allowed_V = np.array([allowed or not masked for _, allowed in entries])
  ids_BK, scores_BK = top_k(
    score_V[None], k, allowed_V[None] if masked else None
  )
  ids, scores = _sorted(score_V, k, allowed_V)
  assert ids_BK[0].tolist() == ids
  assert scores_BK[0].tolist() == scores
  assert (ids_BK.dtype, scores_BK.dtype) == (np.int32, np.float32)


def test_scores_that_differ_only_in_float64_are_a_tie():
  score_BV = np.array([[0.0, 1.0, 1.0 + 1e-12]])
  assert top_k(score_BV, 2)[0].tolist() == [[1, 2]]


def test_k_must_be_positive():
  with pytest.raises(ValueError, match="k=0"):
    top_k(np.zeros((1, 3)), 0)
