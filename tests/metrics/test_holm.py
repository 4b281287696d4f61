# SPDX-License-Identifier: Apache-2.0
"""Holm's correction: against the procedure step by step, and error rates."""

import numpy as np
import pytest

from genrec_jax.metrics.holm import holm


def _rejected(p_values, alpha):
  """Step down: the i-th smallest needs alpha / (m - i), and the first to fail
  ends it."""
  found, left = set(), dict(p_values)
  while left:
    key = min(left, key=left.get)
    if left.pop(key) > alpha / (len(left) + 1):
      break
    found.add(key)
  return found


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_what_is_rejected_is_what_the_procedure_rejects(size):
  rng = np.random.default_rng(size)
  for _ in range(50):
    # Rounded, so that some are equal.
    p = dict(enumerate(np.round(rng.random(size) ** 3, 2).tolist()))
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    for alpha in (0.013, 0.05, 0.2, 0.7):
      below = {key for key, value in adjusted.items() if value <= alpha + 1e-12}
      assert below == _rejected(p, alpha + 1e-12)


def test_an_example_by_hand():
  found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
  assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
  assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0} and holm({}) == {}


def test_a_family_of_nulls_is_seldom_wrong_at_all():
  rng = np.random.default_rng(0)
  wrong = sum(
    min(holm(dict(enumerate(p))).values()) < 0.05
    for p in rng.random((1000, 8)).tolist()
  )
  assert 20 < wrong < 75


def test_what_is_no_probability_is_named():
  with pytest.raises(ValueError, match="p=1.5 of 'a'"):
    holm({"a": 1.5})
