# SPDX-License-Identifier: Apache-2.0
"""Verdicts on claims about codes and vectors: arms, seeds, depths, a grid."""

import pytest

from studies import fusion_claims, fusion_verdicts


def _by_seed(*values, metric="hr@50"):
  return {seed: {metric: value} for seed, value in enumerate(values)}


def test_arms_are_paired_by_seed_and_those_not_there_are_said():
  metrics = {
    "full": {**_by_seed(0.20, 0.21, 0.22), 9: {"hr@50": 0.9}},
    "no_ids": _by_seed(0.10, 0.11, 0.12),
    "one_beam": _by_seed(0.19, 0.22, 0.21),
    "no_vectors": {7: {"hr@50": 0.1}},
  }
  found = fusion_verdicts.claims(metrics, {}, {})
  row = found["71 without IDs"]
  assert row["verdict"] == "holds" and row["seeds"] == 3
  assert row["change"] == pytest.approx(0.11 / 0.21 - 1, abs=1e-3)
  assert row["figures"] == {"full": 0.21, "no_ids": 0.11}
  assert row["published_change_of_recall@500"] == -0.336
  assert found["73 without fusion"]["verdict"] == "not supported"
  assert (
    "no run is given as no_vectors_u"
    in (found["72 without vectors, unique codes"]["verdict"])
  )
  assert (
    "no seed in common"
    in (found["72 without vectors, coarse codes"]["verdict"])
  )
  assert "given as tiger" in found["75 above TIGER"]["verdict"]
  assert found["107d"]["verdict"].startswith("not run")


def test_the_rate_may_fall_where_the_share_of_invalid_lists_grows():
  rising = {0: [0.0, 0.01, 0.03], 1: [0.0, 0.011, 0.033], 2: [0.0, 0.009, 0.03]}
  found = fusion_verdicts.invalid_claims("tiger", rising)
  assert found["68 tiger"]["verdict"] == "within .3 to 6 %"
  assert found["69 tiger"]["verdict"].startswith("holds")
  # Half of what was valid leaves at first, and a fiftieth then.
  falling = {s: [0.0, 0.5 + s / 100, 0.51 + s / 100] for s in range(3)}
  found = fusion_verdicts.invalid_claims("tiger", falling)
  assert found["69 tiger"]["verdict"] == "not supported"
  assert found["69 tiger"]["rate_by_depth"][2] == pytest.approx(
    0.0204, abs=1e-4
  )
  assert found["68 tiger"]["verdict"] == "outside .3 to 6 %"


def _rows(distinct, recall):
  return [
    {
      "options": {"beam_scale": scale},
      "metrics": {"distinct_ids@10": d, "recall@10": r},
    }
    for scale, d, r in zip((0.1, 0.9, 5.0), distinct, recall, strict=True)
  ]


def test_a_trade_needs_a_fall_and_a_peak():
  peak = {
    s: _rows((8 + s / 9, 5, 2 - s / 9), (0.05, 0.08 + s / 99, 0.06))
    for s in range(3)
  }
  found = fusion_verdicts.temperature_claim(peak)
  assert found["verdict"] == "holds" and found["best"] == 0.9
  rising = {
    s: _rows((8 + s / 9, 5, 2), (0.05, 0.08, 0.09 + s / 99)) for s in range(3)
  }
  assert fusion_verdicts.temperature_claim(rising)["verdict"] == "not supported"


def test_roles_are_known_and_have_runs():
  assert fusion_claims.roles_of(["full=a,b", "full=c", "tiger=d"]) == {
    "full": ["a", "b", "c"],
    "tiger": ["d"],
  }
  for texts, said in (
    (["ful=a"], "Did you mean 'full'"),
    (["full="], "names no workdir"),
    ([], "name the runs"),
  ):
    with pytest.raises(ValueError, match=said):
      fusion_claims.roles_of(texts)
