# SPDX-License-Identifier: Apache-2.0
"""Verdicts on claims about negatives and ensembles: arms, seeds, data."""

import pytest

from studies import commerce_verdicts as verdicts


def _seeds(*values, metric="ndcg@10"):
  return {seed: {metric: value} for seed, value in enumerate(values)}


def test_every_step_must_help():
  rising = {
    name: _seeds(*(level + noise for noise in (0, 0.001, 0.002)))
    for name, level in zip(
      verdicts.COUNTS, (0.1, 0.13, 0.15, 0.16), strict=True
    )
  }
  found = verdicts.more_negatives(rising)
  assert found["verdict"] == "holds at every step" and found["seeds"] == 3
  assert list(found["figures"].values()) == [0.101, 0.131, 0.151, 0.161]
  rising["k1024"] = _seeds(0.15, 0.151, 0.152)
  assert verdicts.more_negatives(rising)["verdict"] == "not supported"
  del rising["k16"]
  assert "given as k16" in verdicts.more_negatives(rising)["verdict"]


def test_only_the_difference_of_two_falls_is_of_false_negatives():
  def of(kind, *levels):
    return {
      f"{kind}_hidden{percent}": _seeds(level, level + 0.001, level + 0.003)
      for percent, level in zip(verdicts.HIDDEN, levels, strict=True)
    }

  uniform = of("shared", 0.10, 0.10, 0.09, 0.08)
  noisy = of("hard", 0.12, 0.11, 0.09, 0.05)
  noisy["hard_hidden50"] = _seeds(0.05, 0.0515, 0.053)
  assert (
    verdicts.hidden_harm(uniform | noisy)["verdict"] == "holds of hard ones"
  )
  # Both fall alike: the data are fewer, and that is all.
  alike = of("hard", 0.12, 0.12, 0.11, 0.10)
  alike["hard_hidden50"] = _seeds(0.1, 0.1015, 0.1025)
  assert verdicts.hidden_harm(uniform | alike)["verdict"] == "not supported"


def test_shared_negatives_may_lose_less_than_the_margin():
  own = _seeds(0.150, 0.151, 0.152)
  for lost, said in ((0.001, "holds within 0.005"), (0.02, "not supported")):
    shared = _seeds(0.150 - lost, 0.1512 - lost, 0.152 - lost)
    found = verdicts.no_worse({"shared": shared, "per_position": own})
    assert found["verdict"] == said


def test_what_is_given_up_is_lost_alone_and_won_together():
  def arm(added, alone):
    return {
      seed: {"r_inc@50": added + seed / 999, "hr@50": alone - seed / 1001}
      for seed in range(3)
    }

  plain = {
    s: {"r_inc@50": 0.02 + s / 980, "hr@50": 0.3 - s / 990} for s in range(3)
  }
  found = verdicts.given_up({"weights": arm(0.04, 0.28), "none": plain}, "")
  assert found["verdict"] == "holds" and found["seeds"] == 3
  for arm_of in (arm(0.01, 0.28), arm(0.04, 0.31)):
    found = verdicts.given_up({"weights": arm_of, "none": plain}, "")
    assert found["verdict"] == "not supported"
  assert "weights_retail" in verdicts.given_up({}, "_retail")["verdict"]


def test_metrics_come_from_the_sections_that_are_there():
  section = {"metrics": {"test": {"ndcg@10": 0.1}}}
  document = {"sections": {"next_item": section}}
  assert verdicts.metrics_of(document) == {"ndcg@10": 0.1}
  document["sections"] |= {
    "incremental": {"metrics": {"test": {"r_inc@50": 0.2}}},
    "served": {"recall": {"served": {"recall@2": 0.3}}},
  }
  assert verdicts.metrics_of(document) == {
    "ndcg@10": 0.1,
    "r_inc@50": 0.2,
    "served/recall@2": 0.3,
  }


@pytest.mark.parametrize(
  ("role", "data"),
  [
    ("hard", "all"),
    ("in_batch", "all"),
    ("served_with", "all"),
    ("both_retail", "retail"),
    ("hard_hidden20", "hidden20"),
  ],
)
def test_roles_of_one_data_set_are_compared(role, data):
  assert role in verdicts.ROLES and verdicts.data_of(role) == data


def test_all_claims_are_answered_without_any_run():
  found = verdicts.claims({})
  assert len(found) == 17
  assert all(row["verdict"].startswith("not run") for row in found.values())
