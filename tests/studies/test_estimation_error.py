# SPDX-License-Identifier: Apache-2.0
"""Errors of estimates in closed form, against enumeration and simulation."""

import itertools

import numpy as np
import pytest

from studies.estimation_error import (
  averaged,
  earlier,
  expected,
  harmonic,
  over_a_life,
  over_users,
  shrunk,
  slope,
)


@pytest.mark.parametrize("visits", [1, 2, 5, 8])
def test_a_life_by_enumeration(visits):
  """Noise of +s or -s: all 2^m sequences, and the mean after each visit."""
  noise = 0.7
  signs = np.array([*itertools.product((-1, 1), repeat=visits)])
  mean = np.cumsum(noise * signs, axis=1) / np.arange(1, visits + 1)
  after = (mean**2).mean(axis=0)
  np.testing.assert_allclose(
    after, averaged(np.arange(1, visits + 1), 1, noise)
  )
  assert after.mean() == pytest.approx(over_a_life(visits, 1, noise))
  # Of a vector the entries add up.
  assert over_a_life(visits, 6, noise) == pytest.approx(6 * after.mean())


def test_harmonic_numbers():
  assert harmonic(1) == 1 and harmonic(4) == pytest.approx(25 / 12)
  # ln m + Euler's constant.
  assert harmonic(5000) == pytest.approx(np.log(5000) + 0.5772157, abs=2e-4)


def test_counts_by_enumeration():
  """All logs of 6 rows of 3 tokens: errors depend on counts alone."""
  for tokens in itertools.product(range(3), repeat=6):
    by_hand = [tokens[:row].count(t) for row, t in enumerate(tokens)]
    assert earlier(np.array(tokens)).tolist() == by_hand
  logs = np.array([*itertools.product(range(3), repeat=6)])
  mean = np.mean([shrunk(earlier(log), 2, 1.0, 1.0) for log in logs], axis=0)
  # Row t has met its token Binomial(t, 1/3) times.
  for row in range(6):
    chance = [
      float(np.prod([(row - j) / (j + 1) for j in range(k)]))
      * (1 / 3) ** k
      * (2 / 3) ** (row - k)
      for k in range(row + 1)
    ]
    assert sum(chance) == pytest.approx(1)
    by_hand = sum(c * 2 / (1 + k) for k, c in enumerate(chance))
    assert mean[row] == pytest.approx(by_hand)


@pytest.mark.parametrize("prior", [0.5, 2.0])
def test_estimates_of_gaussians_are_as_wrong_as_that(prior):
  """Vectors drawn and estimated, item by item and user by user."""
  rng = np.random.default_rng(0)
  draws, visits, width, noise = 4000, 6, 3, 0.8
  true = prior * rng.normal(size=(draws, 1, width))
  met = true + noise * rng.normal(size=(draws, visits, width))
  count = np.arange(visits + 1)
  total = np.cumsum(np.pad(met, ((0, 0), (1, 0), (0, 0))), axis=1)
  mean = total[:, 1:] / count[1:, None]
  found = ((mean - true) ** 2).sum(axis=2).mean(axis=0)
  np.testing.assert_allclose(
    found, averaged(count[1:], width, noise), rtol=0.06
  )
  assert found.mean() == pytest.approx(
    over_a_life(visits, width, noise), rel=0.05
  )
  weight = 1 / (count + noise**2 / prior**2)
  found = ((total * weight[:, None] - true) ** 2).sum(axis=2).mean(axis=0)
  by_hand = shrunk(count, width, noise, prior)
  np.testing.assert_allclose(found, by_hand, rtol=0.06)
  assert by_hand[0] == pytest.approx(width * prior**2)


def test_a_floor_where_tokens_are_born_and_none_where_they_stay():
  """Items of m visits, one after the other, against users who take turns."""
  visits, users, periods = 5, 40, 50
  rows, options = 200, {"width": 2, "noise": 1.0, "prior": 1.0}
  items = np.repeat(np.arange(rows * periods // visits), visits)
  floor = expected(items, rows, **options)
  by_hand = shrunk(np.arange(visits), 2, 1.0, 1.0).mean()
  np.testing.assert_allclose(floor, by_hand)
  assert slope(floor, first=10) == pytest.approx(0, abs=1e-9)
  falling = expected(np.arange(rows * periods) % users, rows, **options)
  assert slope(falling, first=10) == pytest.approx(-1, abs=0.02)
  np.testing.assert_allclose(
    falling[-1], over_users(users, rows, periods, 2, 1.0), rtol=0.02
  )
  # Twice the width is twice the floor: no data of later days takes it away.
  wide = expected(items, rows, **options | {"width": 4})
  np.testing.assert_allclose(wide, 2 * floor)


def test_slopes_are_those_of_powers():
  t = np.arange(1, 40)
  for power in (0.0, -0.5, -1.0):
    assert slope(3 * t**power) == pytest.approx(power)
    assert slope(3 * t**power, first=7) == pytest.approx(power)
  with pytest.raises(ValueError, match="needs two periods or more"):
    slope(np.ones(4), first=3)
  with pytest.raises(ValueError, match="the last 3 have 2 of these"):
    slope(np.array([1.0, 2.0, 0.0]))
