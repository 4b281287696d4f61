# SPDX-License-Identifier: Apache-2.0
"""Verdicts on claims about lists: halves of the items, signs, seeds, Holm."""

import pytest

from studies import list_verdicts


def _section(recalls, lift=0.5):
  """Slices of 4 items each, from the least popular one on, 2 cold items."""
  slices = {"cold: 0 training events": _slice(2, 9, 1.0)}
  for number, (requests, recall) in enumerate(recalls):
    slices[f"{number} training events"] = _slice(4, requests, recall)
  return {
    "metrics": {"model": {"group_lift@10": lift, "recall@10": 0.2}},
    "slices": {"model": {"item_popularity": slices}},
  }


def _slice(items, requests, recall):
  return {"items": items, "requests": requests, "recall@10": recall}


def test_halves_are_of_items_and_weigh_requests():
  found = list_verdicts.halves(
    _section([(1, 0.0), (3, 0.4), (10, 0.1), (30, 0.5)])
  )
  assert found == pytest.approx(
    {"lower": 3 * 0.4 / 4, "upper": (10 * 0.1 + 30 * 0.5) / 40}
  )
  # Nobody asks for the least popular ones: the others of their half count.
  found = list_verdicts.halves(
    _section([(0, None), (2, 0.5), (1, 0.0), (1, 1.0)])
  )
  assert found == pytest.approx({"lower": 0.5, "upper": 0.5})
  with pytest.raises(ValueError, match="of the lower half"):
    list_verdicts.halves(_section([(0, None), (0, None), (1, 0.5), (1, 0.5)]))


def test_a_verdict_needs_seeds_the_sign_and_all_claims_together():
  found = list_verdicts.verdicts(
    {
      "sure": {0: 0.5, 1: 0.51, 2: 0.49},
      "other sign": {0: -0.5, 1: -0.51, 2: -0.49},
      "unsure": {0: 0.5, 1: -0.1, 2: 0.2},
      "alone": {0: 0.5},
      # .04 by itself, twice that with two others before it.
      "close": {0: 0.30, 1: 0.12, 2: 0.22, 3: 0.08},
    }
  )
  assert {name: row["verdict"] for name, row in found.items()} == {
    "sure": "holds",
    "other sign": "not supported",
    "unsure": "not supported",
    "alone": "none: one seed",
    "close": "not supported after Holm",
  }
  assert found["other sign"]["p_holm"] == 1
  assert "p_holm" not in found["alone"]


def test_lists_that_ndcg_takes_for_equal():
  found = list_verdicts.equal_lists()
  assert found["verdict"] == "holds"
  assert found["ndcg@10"][0] == found["ndcg@10"][1] > 0
  assert found["ild@10"] == [1.0, 0.0]


def test_claims_are_of_every_config_and_baselines_have_no_verdict():
  parts = [(1, 0.0), (3, 0.1), (10, 0.1), (30, 0.5)]
  section = _section(parts)
  section["metrics"]["most_popular"] = {"group_lift@10": 2.0, "recall@10": 0.1}
  section["slices"]["most_popular"] = section["slices"]["model"]
  found = list_verdicts.claims({"a": {0: section, 1: section}})
  assert {*found["claims"]} == {"141 a", "146 a", "142"}
  assert found["claims"]["141 a"]["mean"] == 0.5
  assert found["lists"]["most_popular"]["lift"] == 2.0
  assert found["lists"]["a"]["recall_upper"] == pytest.approx(0.4)
