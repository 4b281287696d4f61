# SPDX-License-Identifier: Apache-2.0
"""Intervals of AUC, GAUC and NE: against copies of users, and coverage."""

import numpy as np
import pytest
from sklearn import metrics as sk

from genrec_jax.metrics import score_bootstrap
from genrec_jax.metrics.auc import AucMetrics
from genrec_jax.metrics.pointwise import PointwiseMetrics


def _drawn(seed=0, users=60, each=8):
  rng = np.random.default_rng(seed)
  user = np.repeat(np.arange(users), each)
  # Few values, so that ties meet the weights.
  logits = np.round(rng.normal(size=len(user)) - 1, 1)
  # Users differ: impressions of one are not independent.
  taste = rng.normal(size=users)[user]
  positive = rng.random(len(user)) < 1 / (1 + np.exp(-logits - taste))
  return logits, positive, user


def test_a_weighted_user_counts_as_that_many_users():
  logits, positive, user = _drawn(users=12)
  weights = np.array([[0, 1, 3, 1, 0, 2, 1, 1, 0, 1, 2, 1]], float)
  ranker = score_bootstrap._Sorted.of(logits, positive, user)
  found = ranker.values(weights)
  rows = np.concatenate(
    [
      np.flatnonzero(user == u)
      for u, w in enumerate(weights[0].astype(int))
      for _ in range(w)
    ]
  )
  copies = logits[rows], positive[rows]
  expected = {
    **AucMetrics.from_batch(*copies, user[rows]).compute(),
    **PointwiseMetrics.from_batch(*copies).compute(),
  }
  assert found["auc"][0] == pytest.approx(sk.roc_auc_score(*copies[::-1]))
  for name in ("auc", "ne", "log_loss"):
    assert found[name][0] == pytest.approx(expected[name], rel=1e-12)
  # Copies are one user there: their AUC counts by the number of draws.
  sums = np.zeros(2)
  for u, weight in enumerate(weights[0]):
    mine = user == u
    one = AucMetrics.from_batch(logits[mine], positive[mine], user[mine])
    if (value := one.compute()["auc"]) is not None:
      sums += weight * value, weight
  assert found["gauc"][0] == pytest.approx(sums[0] / sums[1])


def test_values_are_the_metrics_and_lie_within():
  logits, positive, user = _drawn()
  found = score_bootstrap.intervals(logits, positive, user, resamples=300)
  state = AucMetrics.from_batch(logits, positive, user).compute()
  for name in ("auc", "gauc"):
    assert found[name].mean == pytest.approx(state[name])
    assert found[name].low < found[name].mean < found[name].high
    assert found[name].num_users == 60
  again = score_bootstrap.intervals(logits, positive, user, resamples=300)
  assert found == again


def test_equal_rankers_do_not_differ_and_a_better_one_does():
  logits, positive, user = _drawn(users=300)
  same = score_bootstrap.paired(logits, logits, positive, user, resamples=50)
  assert all((i.mean, i.low, i.high) == (0, 0, 0) for i in same.values())
  rng = np.random.default_rng(1)
  worse = logits + rng.normal(size=len(logits))
  found = score_bootstrap.paired(logits, worse, positive, user, resamples=300)
  assert found["auc"].low > 0 and found["ne"].high < 0
  with_more_noise = score_bootstrap.paired(
    worse, logits, positive, user, resamples=300
  )
  assert with_more_noise["auc"].high == pytest.approx(-found["auc"].low)


def test_means_of_seeds_lie_between_those_of_each():
  logits, positive, user = _drawn(users=200)
  rng = np.random.default_rng(1)
  seeds = [logits + rng.normal(size=len(logits)) for _ in range(2)]
  options = {"resamples": 200}
  both = score_bootstrap.of_seeds(
    [logits], seeds, positive, user, same_seeds=False, **options
  )
  alone = [
    score_bootstrap.paired(logits, one, positive, user, **options)
    for one in seeds
  ]
  for name in score_bootstrap.NAMES:
    means = [found[name].mean for found in alone]
    assert both[name].users.mean == pytest.approx(np.mean(means))
    assert both[name].both is None
    each = [both[name].ours[0] - value for value in both[name].theirs]
    assert each == pytest.approx(means)
  # Of one seed a side users are drawn as ever.
  one = score_bootstrap.of_seeds(
    [logits], seeds[:1], positive, user, same_seeds=True, **options
  )
  assert {name: found.users for name, found in one.items()} == alone[0]
  # The same seeds do not differ.
  same = score_bootstrap.of_seeds(
    seeds, seeds, positive, user, same_seeds=True, **options
  )
  for found in same.values():
    for i in (found.users, found.both):
      assert abs(i.low) + abs(i.high) < 1e-12


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says():
  # Scores of no use: the true AUC is one half.
  rng = np.random.default_rng(0)
  user, runs, inside = np.repeat(np.arange(80), 4), 200, 0
  for run in range(runs):
    taste = rng.normal(size=80)[user]
    positive = rng.random(len(user)) < 1 / (1 + np.exp(-taste))
    found = score_bootstrap.intervals(
      rng.normal(size=len(user)), positive, user, resamples=200, seed=run
    )
    inside += found["auc"].low <= 0.5 <= found["auc"].high
  assert 0.90 < inside / runs < 0.985


def test_what_is_undefined_has_no_entry():
  logits, _, user = _drawn(users=5)
  found = score_bootstrap.intervals(
    logits, np.zeros(len(user), bool), user, resamples=20
  )
  assert set(found) == {"log_loss"}
  with pytest.raises(ValueError, match="at least one impression"):
    score_bootstrap.intervals(logits[:0], user[:0] > 0, user[:0])
