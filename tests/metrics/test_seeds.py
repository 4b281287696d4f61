# SPDX-License-Identifier: Apache-2.0
"""Intervals over seeds: against SciPy's t tests, and coverage."""

import numpy as np
import pytest
from scipy import stats

from genrec_jax.metrics import seeds

_A, _B = {0: 0.71, 1: 0.73, 2: 0.72}, {2: 0.70, 0: 0.72, 1: 0.71}


def test_a_mean_has_the_t_interval():
  values = list(_A.values())
  expected = stats.t.interval(0.9, 2, np.mean(values), stats.sem(values))
  assert seeds.over_seeds(values, 0.9) == pytest.approx(expected)
  assert seeds.over_seeds([0.7]) is None


def test_the_same_seeds_are_paired_in_any_order():
  found = seeds.difference(_A, _B, paired=True)
  expected = stats.ttest_rel(
    *([side[s] for s in range(3)] for side in (_A, _B))
  )
  assert found.paired and found.p_value == pytest.approx(expected.pvalue)
  interval = expected.confidence_interval(0.95)
  assert (found.low, found.high) == pytest.approx(tuple(interval))
  assert found.mean == pytest.approx(0.01)


@pytest.mark.parametrize("theirs", [{3: 0.7, 4: 0.75}, {0: 0.7, 1: 0.75, 9: 0}])
def test_other_trainings_are_welchs(theirs):
  found = seeds.difference(_A, theirs, paired=False)
  expected = stats.ttest_ind(
    list(_A.values()), list(theirs.values()), equal_var=False
  )
  assert not found.paired and found.p_value == pytest.approx(expected.pvalue)
  interval = expected.confidence_interval(0.95)
  assert (found.low, found.high) == pytest.approx(tuple(interval))
  assert (found.ours, found.theirs) == (3, len(theirs))


def test_one_seed_has_no_interval_and_none_that_differ_is_sure():
  assert seeds.difference({0: 0.7}, {0: 0.6}, paired=True) is None
  assert seeds.difference(_A, {0: 0.6}, paired=False) is None
  same = seeds.difference(_A, _A, paired=True)
  assert (same.low, same.high, same.p_value) == (0, 0, 1)
  still = {0: 0.5, 1: 0.5}
  for paired in (True, False):
    found = seeds.difference(still, {0: 0.25, 1: 0.25}, paired=paired)
    assert (found.low, found.high, found.p_value) == (0.25, 0.25, 0)
  with pytest.raises(ValueError, match=r"\[0, 1, 2\] and \[0, 1\] cannot"):
    seeds.difference(_A, still, paired=True)
  with pytest.raises(ValueError, match="level=95.0 must"):
    seeds.over_seeds([0.1, 0.2], 95.0)


def test_deviations_of_seeds_have_the_standard_error_of_a_mean():
  values = np.array([0.1, 0.4, 0.2, 0.9])
  found = seeds.seed_deviations(np.random.default_rng(0), 40_000, 4)
  np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-12)
  studentized = found @ values / stats.sem(values)
  assert stats.kstest(studentized, stats.norm.cdf).pvalue > 0.01


def test_coverage_of_three_seeds():
  rng = np.random.default_rng(0)
  covered = 0
  for values in rng.normal(0.7, 0.01, size=(2000, 3)).tolist():
    low, high = seeds.over_seeds(values)
    covered += low <= 0.7 <= high
  # Four standard errors of a share of .95 over 2,000 trials are .02.
  assert 0.93 < covered / 2000 < 0.97
