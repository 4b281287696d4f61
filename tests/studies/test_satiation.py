# SPDX-License-Identifier: Apache-2.0
"""A tiring user is worth most to a list that is made one item at a time."""

import itertools

import numpy as np
import pytest

from studies.satiation import TiringUser, draw_user, gains, worths


def _mean(strength, users=40):
  rng = np.random.default_rng(1)
  found = [
    worths(draw_user(rng, strength, 60, 8), k=10, limit=2) for _ in range(users)
  ]
  return {n: np.mean([f[n] for f in found]) for n in found[0]}


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_sequential_is_the_best_list_there_is(strength):
  rng = np.random.default_rng(0)
  for _ in range(5):
    user = draw_user(rng, strength, 6, 3)
    best = max(user.worth(o) for o in itertools.permutations(range(6), 4))
    assert worths(user, 4, 1)["sequential"] == pytest.approx(best)


def test_gains_are_paired_and_none_without_satiation():
  found = gains((0.0, 1.0), users=50)
  none = found[0.0]["greedy"]
  assert (none.mean, none.low, none.high) == (0.0, 0.0, 0.0)
  assert found[0.0]["diverse"].low > 0
  assert found[1.0]["greedy"].low > found[1.0]["diverse"].low > 0


def test_policies_stand_in_the_claimed_order_and_the_gap_grows():
  gaps = []
  for strength in (0.5, 1.0, 2.0):
    found = _mean(strength)
    assert found["sequential"] > found["diverse"] > found["greedy"]
    gaps.append(found["sequential"] / found["greedy"])
  assert gaps == sorted(gaps)


def test_without_satiation_there_is_nothing_to_gain_and_rules_cost():
  found = _mean(0.0)
  assert found["sequential"] == found["greedy"] > found["diverse"]


def test_probabilities_by_hand():
  user = TiringUser(np.array([0.5, 0.4, 0.3]), np.array([0, 0, 1]), 1.0)
  np.testing.assert_allclose(
    user.probabilities([0]), [0.5 / np.e, 0.4 / np.e, 0.3]
  )
  assert user.worth([0, 1, 2]) == pytest.approx(0.5 + 0.4 / np.e + 0.3)
