# SPDX-License-Identifier: Apache-2.0
"""AUC against all pairs and scikit-learn; GAUC against users one by one."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from sklearn import metrics as sk

from genrec_jax.metrics.auc import AucMetrics, area, gauc_share


def _pairs(scores, positive):
  gap = scores[positive][:, None] - scores[~positive][None, :]
  return (gap > 0).mean() + (gap == 0).mean() / 2


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 40))
def test_equals_counting_pairs_and_users_in_any_batches(seed, count):
  rng = np.random.default_rng(seed)
  scores = rng.integers(0, 5, count) / 4  # Many ties.
  positive, users = rng.random(count) < 0.4, rng.integers(3, 8, count)
  state = AucMetrics.empty()
  for rows in np.array_split(rng.permutation(count), 3):
    batch = AucMetrics.from_batch(scores[rows], positive[rows], users[rows])
    state = state.merge(batch)
  found = state.compute()
  both = positive.any() and not positive.all()
  if both:
    assert found["auc"] == pytest.approx(_pairs(scores, positive), abs=1e-12)
  else:
    assert found["auc"] is None
  areas, sizes = [], []
  for user in np.unique(users):
    mine = users == user
    if positive[mine].any() and not positive[mine].all():
      areas.append(_pairs(scores[mine], positive[mine]))
      sizes.append(mine.sum())
  if not areas:
    assert found["gauc"] is None
    return
  assert found["gauc"] == pytest.approx(np.average(areas, weights=sizes))
  dropped = 1 - len(areas) / len(np.unique(users))
  assert found["one_class_users"] == pytest.approx(dropped)
  assert found["one_class_impressions"] == pytest.approx(1 - sum(sizes) / count)


def test_equals_scikit_learn_on_100000_rows():
  rng = np.random.default_rng(0)
  scores = np.round(rng.normal(size=100_000), 3).astype(np.float32)
  positive = rng.random(100_000) < 1 / (1 + np.exp(-scores))
  expected = sk.roc_auc_score(positive, scores)
  assert area(scores, positive) == pytest.approx(expected, abs=1e-9)


def test_a_constant_is_at_chance_and_padding_does_not_count():
  positive = np.array([[True, False], [False, True]])
  where = np.array([[True, True], [True, False]])
  scores, users = np.zeros((2, 2)), np.array([[1, 1], [2, 2]])
  scores[1, 1] = np.nan
  found = AucMetrics.from_batch(scores, positive, users, where=where).compute()
  assert found == {
    "auc": 0.5,
    "gauc": 0.5,
    "one_class_users": 0.5,
    "one_class_impressions": pytest.approx(1 / 3),
  }
  assert gauc_share(found) == pytest.approx(2 / 3)


def test_nothing_is_undefined_and_nan_is_an_error():
  assert set(AucMetrics.empty().compute().values()) == {None}
  assert gauc_share(AucMetrics.empty().compute()) == 0
  nothing = np.zeros(0)
  empty = AucMetrics.from_batch(nothing, nothing > 0, nothing)
  assert set(empty.compute().values()) == {None}
  with pytest.raises(ValueError, match="1 of 2 scores .* nan in row 1"):
    AucMetrics.from_batch(np.array([0, np.nan]), np.ones(2, bool), np.ones(2))
