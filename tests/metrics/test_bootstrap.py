# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals: coverage, clusters, pairing, and a plain reference."""

import numpy as np
import pytest

from genrec_jax.metrics import bootstrap


def _plain_bootstrap(values, users, resamples, seed):
  """Draws user by user, request by request; slow and obviously right."""
  rng = np.random.default_rng(seed)
  by_user = [values[users == u] for u in np.unique(users)]
  means = []
  for _ in range(resamples):
    drawn = rng.integers(0, len(by_user), len(by_user))
    means.append(np.concatenate([by_user[u] for u in drawn]).mean())
  return np.quantile(means, [0.025, 0.975])


def test_equals_the_plain_bootstrap():
  rng = np.random.default_rng(0)
  users = rng.integers(0, 150, 600)
  # Values of a user agree: requests are far from independent.
  values = (rng.random(150)[users] + 0.2 * rng.random(600)).astype(np.float64)
  got = bootstrap.interval(values, users, resamples=6_000)
  low, high = _plain_bootstrap(values, users, 3_000, seed=1)
  width = high - low
  assert got.low == pytest.approx(low, abs=0.06 * width)
  assert got.high == pytest.approx(high, abs=0.06 * width)
  assert got.mean == pytest.approx(values.mean())
  assert got.num_users == len(np.unique(users))


def test_users_and_not_requests_are_drawn():
  rng = np.random.default_rng(0)
  per_user = rng.random(100)
  users = np.repeat(np.arange(100), 9)
  clustered = bootstrap.interval(per_user[users], users)
  as_if_independent = bootstrap.interval(per_user[users], np.arange(900))
  ratio = (clustered.high - clustered.low) / (
    as_if_independent.high - as_if_independent.low
  )
  assert ratio == pytest.approx(3, rel=0.1)


def test_matches_the_standard_error_of_a_share():
  hits = (np.arange(6040) < 1812).astype(np.float64)
  got = bootstrap.interval(hits, np.arange(6040))
  error = np.sqrt(0.3 * 0.7 / 6040)
  assert (got.high - got.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_pairing_removes_what_both_share():
  rng = np.random.default_rng(0)
  users = np.arange(500)
  b = rng.random(500)
  a = b + 0.01 + 0.001 * rng.random(500)
  difference = bootstrap.paired(a, b, users)
  assert difference.low > 0.01
  assert bootstrap.excludes_zero(difference.low, difference.high)
  for values in (b - b, rng.normal(size=500)):
    both = bootstrap.interval(values, users)
    assert not bootstrap.excludes_zero(both.low, both.high)
  assert bootstrap.excludes_zero(-0.2, -0.1)


def test_same_seed_same_interval():
  values, users = np.random.default_rng(0).random(50), np.arange(50)
  first = bootstrap.interval(values, users, seed=3)
  assert first == bootstrap.interval(values, users, seed=3)
  assert first != bootstrap.interval(values, users, seed=4)
  named = bootstrap.intervals({"a": values}, users, seed=3)
  assert named == {"a": first}


def test_blocks_do_not_lose_draws(monkeypatch):
  values, users = np.random.default_rng(0).random(50), np.arange(50)
  whole = bootstrap.interval(values, users)
  monkeypatch.setattr(bootstrap, "_BLOCK", 50 * 7)
  assert bootstrap.interval(values, users) == whole


@pytest.mark.parametrize(
  ("values", "level", "message"),
  [
    ([], 0.95, "got none"),
    ([np.nan], 0.95, "request 0"),
    ([1.0], 95.0, "0.95"),
  ],
)
def test_bad_input(values, level, message):
  values = np.array(values, np.float64)
  with pytest.raises(ValueError, match=message):
    bootstrap.interval(values, np.zeros(len(values), int), level=level)


@pytest.mark.slow
def test_coverage_of_a_true_difference_of_zero():
  rng = np.random.default_rng(0)
  trials, covered, users = 1_000, 0, np.repeat(np.arange(200), 3)
  for trial in range(trials):
    taste = rng.random(200)[users]
    a = (rng.random(600) < taste).astype(np.float64)
    b = (rng.random(600) < taste).astype(np.float64)
    found = bootstrap.paired(a, b, users, resamples=1_000, seed=trial)
    covered += found.low <= 0 <= found.high
  # Three standard errors of a share of .95 over 1,000 trials are .02.
  assert 0.925 <= covered / trials <= 0.972
