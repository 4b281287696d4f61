# SPDX-License-Identifier: Apache-2.0
"""Two levels, seeds and users: each alone as its own interval, and coverage."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from genrec_jax.metrics import bootstrap, hierarchical, score_bootstrap, seeds

_USERS = np.repeat(np.arange(120), 2)


def _of(ours, theirs, users=_USERS, **options):
  sides = [[{"m": values} for values in side] for side in (ours, theirs)]
  options = {"same_seeds": True, "resamples": 4_000} | options
  return hierarchical.of_means(*sides, users, **options)["m"]


def test_seeds_that_agree_leave_the_interval_over_users():
  rng = np.random.default_rng(0)
  a, b = rng.random((2, 240))
  found = _of([a, a, a], [b, b, b])
  expected = bootstrap.paired(a, b, _USERS, resamples=4_000)
  width = expected.high - expected.low
  for got in (found.users, found.both):
    assert got.mean == pytest.approx(expected.mean)
    assert got.low == pytest.approx(expected.low, abs=0.06 * width)
    assert got.high == pytest.approx(expected.high, abs=0.06 * width)
    assert got.num_users == 120


@pytest.mark.parametrize("same_seeds", [True, False])
def test_users_that_agree_leave_the_t_interval_over_seeds(same_seeds):
  levels = ([0.5, 0.6, 0.8, 0.7], [0.3, 0.45, 0.5, 0.55])
  sides = [[np.full(240, level) for level in side] for side in levels]
  found = _of(*sides, same_seeds=same_seeds)
  by_seed = [dict(enumerate(side)) for side in levels]
  expected = seeds.difference(*by_seed, paired=same_seeds)
  assert found.users.high - found.users.low < 1e-12
  width = expected.high - expected.low
  assert found.both.low == pytest.approx(expected.low, abs=0.06 * width)
  assert found.both.high == pytest.approx(expected.high, abs=0.06 * width)
  assert found.ours == pytest.approx(levels[0])


def _null(rng, users=100, count=3):
  """Two systems that are equally good: seeds, users and both vary."""
  return [
    rng.normal(0, 0.1, (count, 1))
    + rng.normal(0, 0.6, users)
    + rng.normal(0, 0.5, (count, users))
    for _ in range(2)
  ]


@pytest.mark.slow
def test_coverage_on_a_simulated_null():
  rng = np.random.default_rng(0)
  trials, inside = 400, {"users": 0, "both": 0, "seeds": 0}
  for trial in range(trials):
    a, b = _null(rng)
    found = _of(a, b, np.arange(100), resamples=300, seed=trial)
    over = seeds.difference(
      dict(enumerate(found.ours)), dict(enumerate(found.theirs)), paired=True
    )
    for name, i in (
      ("users", found.users), ("both", found.both), ("seeds", over)
    ):  # fmt: skip
      inside[name] += i.low <= 0 <= i.high
  # Users alone do not know that seeds vary, nor seeds alone that users do.
  assert inside["users"] / trials < 0.88
  assert inside["seeds"] / trials < 0.93
  assert 0.93 <= inside["both"] / trials <= 0.99


def test_of_scores_seeds_have_the_metric_and_their_spread_widens():
  rng = np.random.default_rng(0)
  user = np.repeat(np.arange(80), 6)
  positive = rng.random(480) < 0.4
  ours, theirs = (
    [positive * lift * gain + rng.normal(size=480) for gain in (0.2, 1.0, 2.0)]
    for lift in (1.0, 0.5)
  )
  found = score_bootstrap.of_seeds(
    ours, theirs, positive, user, same_seeds=True, resamples=400
  )["auc"]
  assert found.ours == pytest.approx(
    [sk.roc_auc_score(positive, x) for x in ours]
  )
  assert found.both.high - found.both.low > 1.5 * (
    found.users.high - found.users.low
  )
  t = stats.ttest_rel(found.ours, found.theirs).confidence_interval()
  assert found.both.low < t.low + 0.05 and found.both.high > t.high - 0.05


def test_what_is_undefined_has_no_entry():
  user, logits = np.repeat(np.arange(9), 4), np.random.default_rng(0).random(36)
  found = score_bootstrap.of_seeds(
    [logits, logits + 1],
    [logits, logits],
    np.zeros(36, bool),
    user,
    same_seeds=True,
    resamples=20,
  )
  assert set(found) == {"log_loss"}


def test_one_seed_a_side_and_seeds_that_do_not_match():
  a, b = np.random.default_rng(0).random((2, 240))
  assert _of([a], [b]).both is None
  assert _of([a, b], [b], same_seeds=False).both is None
  with pytest.raises(ValueError, match="2 and 1 seeds cannot be paired"):
    _of([a, b], [b])
  with pytest.raises(ValueError, match="level=95"):
    _of([a], [b], level=95.0)
