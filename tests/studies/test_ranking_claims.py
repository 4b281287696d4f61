# SPDX-License-Identifier: Apache-2.0
"""Verdicts on claims about trained models rest on seeds, all of them."""

import pytest

from studies import ranking_claims as claims, verdicts

_SURE, _UNSURE = [0.04, 0.05, 0.045], [0.04, -0.01, 0.03]


def test_a_claim_needs_an_interval_over_seeds_for_all_that_it_says():
  found = verdicts.over_seeds("holds", [_SURE, _SURE], auc=0.7)
  assert found["verdict"] == "holds" and found["auc"] == 0.7
  assert found["rests_on"] == "t intervals over 3 seeds"
  # One that is unsure decides, and so does one on the other side of 0.
  assert verdicts.over_seeds("holds", [_SURE, _UNSURE])["verdict"] == (
    "not supported"
  )
  below = verdicts.over_seeds("holds", [_SURE, [-x for x in _SURE]])
  assert below["verdict"] == "not supported" and below["p_value"] == 1
  one = verdicts.over_seeds("holds", [[0.04]])
  assert one == {"verdict": "none: one seed"}


def test_a_gain_says_what_its_interval_is_over():
  text = claims._gain([0.72, 0.73, 0.74], [0.71, 0.71, 0.71])
  assert text == "+0.0200 (over seeds -0.0048 to +0.0448)"
  assert claims._gain([0.72], [0.71]) == "+0.0100 (one seed)"


def test_claims_are_corrected_together():
  found = {
    "1": {"verdict": "holds", "p_value": 0.03},
    "2": {"verdict": "holds", "p_value": 0.001},
    "3": {"verdict": "not supported", "p_value": 0.4},
    "4": {"verdict": "holds"},
  }
  verdicts.correct(found)
  assert [r["verdict"] for r in found.values()] == [
    "not supported after Holm",
    "holds",
    "not supported",
    "holds",
  ]
  assert found["2"]["p_holm"] == pytest.approx(0.003)
  assert "p_holm" not in found["4"]
