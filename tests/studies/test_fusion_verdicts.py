# SPDX-License-Identifier: Apache-2.0
"""Verdicts on claims about codes and vectors: arms, seeds, depths, a grid."""

import pytest

from genrec_jax.metrics.slices import COLD
from studies import fusion_verdicts


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


def test_codes_of_one_level_have_no_depth_to_grow_with():
  found = fusion_verdicts.invalid_claims("tiger", {0: [0.01], 1: [0.02]})
  assert list(found) == ["68 tiger"]


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


def _document(hr, rare, unseen, by_prefix):
  slices = {
    COLD: {"hr@10": unseen, "hr@50": unseen, "share": 0.1, "items": 80},
    "1-5 training events": {"hr@10": rare},
    "6-400 training events": {"hr@10": 9.0},
  }
  return {
    "sections": {
      "next_item": {
        "metrics": {"test": {"hr@10": hr, "hr@50": hr}},
        "slices": {"test": {"item_popularity": slices}},
        "evaluate_seconds": {"test": 3.0},
        "num_requests": {"test": 2},
      },
      "search_stages": {"num_beams": 20},
      "decoding": {
        "cold": {
          "metrics": {
            "prefix_match": {"hr@50": by_prefix},
            "beam": {"hr@50": 0.0},
          }
        },
        "filled": {"few_beams": 0.2, "back_off": 1.0},
      },
    }
  }


def test_claims_about_rare_and_unseen_items_have_metrics_of_their_own():
  def seeds(*documents):
    return {i: fusion_verdicts.metrics_of(d) for i, d in enumerate(documents)}

  metrics = {
    "tiger": seeds(
      _document(0.06, 0.05, 0, 0.1), _document(0.061, 0.052, 0, 0)
    ),
    "sasrec": seeds(_document(0.09, 0.01, 0, 0), _document(0.09, 0.011, 0, 0)),
    "tiger_cold": seeds(*(_document(0, 0, 0, x) for x in (0.3, 0.31))),
    "sasrec_cold": seeds(*(_document(0, 0, x, 0) for x in (0.004, 0.005))),
  }
  found = fusion_verdicts.claims(metrics, {}, {})
  rare = found["117 rare items"]
  assert rare["verdict"] == "holds"
  assert rare["figures"] == {"tiger": 0.051, "sasrec": 0.0105}
  assert found["119 above SASRec over all items"]["verdict"] == "not supported"
  unseen = found["109 codes find unseen items, ids do not"]
  assert unseen["figures"] == {"tiger_cold": 0.305, "sasrec_cold": 0.0045}
  prefixes = found["149 prefixes find unseen items, codes do not"]
  assert list(prefixes["figures"].values()) == [0.305, 0.0]
  filled = found["30 back-off fills what few beams leave"]
  assert list(filled["figures"].values()) == [1.0, 0.2]
  del metrics["tiger_cold"][0]["unseen_by_prefix/hr@50"]
  found = fusion_verdicts.claims(metrics, {}, {})
  assert found["109 codes find unseen items, ids do not"]["verdict"] == (
    "not run: not measured: tiger_cold unseen_by_prefix/hr@50"
  )


def test_a_union_is_held_against_chance_and_its_host():
  def seeds(*pairs):
    documents = [_document(hr, 0, unseen, 0) for hr, unseen in pairs]
    return {i: fusion_verdicts.metrics_of(d) for i, d in enumerate(documents)}

  # 20 beams and 80 new items: a tenth by chance.
  metrics = {
    "liger_cold": seeds((0.05, 0.25), (0.051, 0.26), (0.049, 0.24)),
    "tiger_cold": seeds((0.025, 0), (0.0251, 0), (0.0249, 0)),
  }
  found = fusion_verdicts.claims(metrics, {}, {})
  chance = found["LIGER: unseen items at twice chance"]
  assert chance["verdict"] == "holds"
  assert list(chance["figures"].values()) == [0.25, 0.2]
  # (.05 - .1 * .25) / .9 = .0278 and .025 / .9 = .0278.
  host = found["LIGER: seen items within .003 of its host"]
  assert host["verdict"] == "holds"
  assert list(host["figures"].values()) == [0.0308, 0.0278]
  metrics["liger_cold"] = seeds((0.05, 0.19), (0.051, 0.2), (0.049, 0.21))
  found = fusion_verdicts.claims(metrics, {}, {})
  assert (
    found["LIGER: unseen items at twice chance"]["verdict"] == "not supported"
  )
  assert metrics["tiger_cold"][0]["seconds_a_request"] == 1.5
