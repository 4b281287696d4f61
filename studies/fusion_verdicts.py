# SPDX-License-Identifier: Apache-2.0
"""What seeds say of searches by codes and vectors, against published figures.

Of metrics by role and seed; studies/fusion_claims.py is the command, and says
what the claims and the roles are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax.evaluation.next_item_results import of_the_rest
from genrec_jax.metrics.slices import COLD
from studies.verdicts import Result, compared, correct, over_seeds

# HR@50 is the one that the ablation is about, at this size.
K = 50
Values = Mapping[str, Mapping[int, float]]
# Claim -> (arm without something, published change of Recall@500).
ABLATIONS = {
  "71 without IDs": ("no_ids", -0.336),
  "72 without vectors, coarse codes": ("no_vectors", -0.271),
  "72 without vectors, unique codes": ("no_vectors_unique", -0.271),
  "73 without fusion": ("one_beam", -0.339),
}
# Claim -> (better role, worse role, metric), or with a metric of each.
ORDERS = {
  "75 above TIGER": ("full", "tiger", "hr@10"),
  "75 codes before the vector": ("full", "history", "hr@10"),
  "75 above LIGER": ("full", "liger", "hr@10"),
  "107i text above random codes": ("text_codes", "random_codes", "ndcg@10"),
  "107i joined above text codes": ("joint_codes", "text_codes", "ndcg@10"),
  "109 codes find unseen items, ids do not": (
    *("tiger_cold", "sasrec_cold", "unseen_by_prefix/hr@50", "unseen/hr@50"),
  ),
  "LIGER: unseen items at twice chance": (
    *("liger_cold", "liger_cold", "unseen/hr@10", "unseen/twice_chance@10"),
  ),
  "LIGER: seen items within .003 of its host": (
    *("liger_cold", "tiger_cold", "seen/hr@10+.003", "seen/hr@10"),
  ),
  "117 rare items": ("tiger", "sasrec", "rare/hr@10"),
  "117 rare items, items in the input": (
    *("generator", "sasrec", "rare/hr@10"),
  ),
  "117 codes of fields": ("field_codes", "text_codes", "ndcg@10"),
  "118 codes are searched slower than vectors": (
    *("tiger", "sasrec", "seconds_a_request"),
  ),
  "118 the same, items in the input": (
    *("generator", "sasrec", "seconds_a_request"),
  ),
  "119 above SASRec over all items": ("tiger", "sasrec", "hr@10"),
  "119 the same, items in the input": ("generator", "sasrec", "hr@10"),
  "133 codes tuned on engagement": ("tuned_codes", "text_codes", "ndcg@10"),
  "149 prefixes find unseen items, codes do not": (
    *("tiger_cold", "tiger_cold", "unseen_by_prefix/hr@50"),
    "unseen_by_beam/hr@50",
  ),
  "30 back-off fills what few beams leave": (
    *("tiger", "tiger", "filled/back_off", "filled/few_beams"),
  ),
}
ROLES = (
  *("full", "no_ids", "no_vectors", "no_vectors_unique", "one_beam"),
  *("history", "liger", "tiger", "random_codes", "text_codes", "joint_codes"),
  *("field_codes", "tuned_codes", "sasrec", "sasrec_cold", "tiger_cold"),
  *("liger_cold", "generator"),
)


def claims(
  metrics: Mapping[str, Mapping[int, Mapping[str, float]]],
  invalid: Mapping[str, Mapping[int, Sequence[float]]],
  grids: Mapping[int, Sequence[Mapping[str, Any]]],
) -> dict[str, Result]:
  """All claims; those whose arms are not there say so.

  Args:
    metrics: {role: {seed: {"hr@50": ...}}} on test.
    invalid: {role: {seed: shares of lists outside the catalogue, by depth}}.
    grids: {seed: rows of a grid over beam_scale alone, in rising order}, of
      the role "full".
  """
  found: dict[str, Result] = {}
  for role, by_seed in invalid.items():
    found |= invalid_claims(role, by_seed)
  for claim, (role, published) in ABLATIONS.items():
    found[claim] = compared(metrics, "full", role, f"hr@{K}")
    found[claim]["published_change_of_recall@500"] = published
  for claim, (better, worse, *names) in ORDERS.items():
    found[claim] = compared(metrics, better, worse, *names)
  found["107d"] = temperature_claim(grids)
  correct(found)
  return found


def metrics_of(document: Mapping[str, Any]) -> dict[str, float]:
  """What the claims are about, of one evaluated run.

  Of test: the metrics of all, "rare/..." of targets among the quarter of the
  items with the fewest training events, "unseen/..." of those with none,
  "seen/..." of all others; and of the evaluators that compare searches
  "unseen_by_prefix/...", "unseen_by_beam/..." and "filled/...".
  "unseen/twice_chance@10" is of an order drawn at random of what LIGER ranks,
  beams and new items.
  """
  sections = document["sections"]
  section = sections["next_item"]
  found = dict(section["metrics"]["test"])
  by_count = dict(section["slices"]["test"]["item_popularity"])
  unseen = dict(by_count.pop(COLD, {}))
  rare = next(iter(by_count.values()), {})
  parts = {"rare": rare, "unseen": unseen}
  if unseen:
    seen = of_the_rest(found, unseen)
    parts["seen"] = {**seen, "hr@10+.003": seen["hr@10"] + 0.003}
  search = sections.get("search_stages")
  # Evaluations from before did not count the items of a slice.
  if search and "items" in unseen:
    candidates = search["num_beams"] + unseen["items"]
    unseen["twice_chance@10"] = 2 * 10 / candidates
  decoding = sections.get("decoding", {})
  cold = decoding.get("cold", {}).get("metrics", {})
  parts["unseen_by_prefix"] = cold.get("prefix_match", {})
  parts["unseen_by_beam"] = cold.get("beam", {})
  parts["filled"] = decoding.get("filled", {})
  seconds, requests = section["evaluate_seconds"], section["num_requests"]
  found["seconds_a_request"] = seconds["test"] / requests["test"]
  for part, values in parts.items():
    found |= {f"{part}/{name}": value for name, value in values.items()}
  return found


def invalid_claims(
  role: str, by_seed: Mapping[int, Sequence[float]]
) -> dict[str, Result]:
  """68, the share of lists outside the catalogue, and 69, its growth.

  That the share grows with depth cannot fail: what no item begins with, no
  item has. Its growth among lists that were valid so far can.
  """
  shares = np.array(list(by_seed.values()))
  before = np.pad(shares[:, :-1], ((0, 0), (1, 0)))
  rates = (shares - before) / np.maximum(1 - before, 1e-12)
  last = float(shares[:, -1].mean())
  inside = 0.003 <= last <= 0.06
  grows = [list(step) for step in np.diff(rates, axis=1).T]
  found: dict[str, Result] = {
    f"68 {role}": {
      "verdict": "within .3 to 6 %" if inside else "outside .3 to 6 %",
      "rests_on": f"{len(shares)} seeds, no interval",
      "invalid_share": round(last, 4),
    }
  }
  if not grows:
    # Codes of one level have no depth to grow with.
    return found
  return found | {
    f"69 {role}": over_seeds(
      "holds of the rate at every depth",
      grows,
      seeds=len(shares),
      share_by_depth=[round(float(x), 4) for x in shares.mean(axis=0)],
      rate_by_depth=[round(float(x), 4) for x in rates.mean(axis=0)],
    ),
  }


def temperature_claim(
  grids: Mapping[int, Sequence[Mapping[str, Any]]], k: int = 10
) -> Result:
  """107d: a larger weight on beams costs diversity, and recall has a peak.

  Supported where, over seeds, a list has fewer distinct IDs at the largest
  value than at the smallest, and the best value's recall is above both ends'.
  """
  if not grids:
    return {"verdict": "not run: no run is given as full, or no grid"}
  first = next(iter(grids.values()))
  scales = [row["options"]["beam_scale"] for row in first]

  def by_seed(name):
    return np.array(
      [[r["metrics"][f"{name}@{k}"] for r in rows] for rows in grids.values()]
    )

  distinct, recall = by_seed("distinct_ids"), by_seed("recall")
  best = int(recall.mean(axis=0).argmax())
  values = [
    list(distinct[:, 0] - distinct[:, -1]),
    list(recall[:, best] - recall[:, 0]),
    list(recall[:, best] - recall[:, -1]),
  ]
  return over_seeds(
    "holds",
    values,
    seeds=len(grids),
    beam_scale=scales,
    distinct_ids=[round(float(x), 3) for x in distinct.mean(axis=0)],
    recall=[round(float(x), 4) for x in recall.mean(axis=0)],
    best=scales[best],
  )
