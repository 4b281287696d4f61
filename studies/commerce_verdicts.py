# SPDX-License-Identifier: Apache-2.0
"""What seeds say of negatives and of training beside other retrievers.

Of metrics by role and seed; studies/commerce_claims.py is the command, and says
what the claims and the roles are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from studies.verdicts import (
  Result,
  compared,
  correct,
  means,
  of_seeds,
  over_seeds,
)

# Percent of the events that a simulated log lacks.
HIDDEN = (0, 5, 20, 50)
COUNTS = ("k1", "k16", "k128", "k1024")
_KINDS = ("shared", "hard", "aware")
ROLES = (
  *COUNTS,
  *("per_position", "in_batch", *_KINDS),
  *(f"{kind}_hidden{percent}" for kind in _KINDS for percent in HIDDEN),
  *("none", "weights", "misses", "both"),
  *("none_retail", "weights_retail", "misses_retail", "both_retail"),
  *("served_with", "served_without"),
  *("timed", "shuffled"),
)
# By which shared negatives may be below those of each position.
MARGIN = 0.005
# Claim -> (better role, worse role, metric).
ORDERS = {
  "14 hard above uniform negatives": ("hard", "shared", "ndcg@10"),
  "17 positive-aware above hard": ("aware", "hard", "ndcg@10"),
  "17 with a fifth hidden": ("aware_hidden20", "hard_hidden20", "ndcg@10"),
  "17 above uniform, a fifth hidden": (
    *("aware_hidden20", "shared_hidden20", "ndcg@10"),
  ),
  "3 a new source lifts what is served": (
    *("served_with", "served_without", "served/recall@2"),
  ),
  "27f gaps in their order": ("timed", "shuffled", "ndcg@10"),
}
# Claim -> (better arm, metric); each against "none".
ENSEMBLE = {
  "20 added": ("both", "r_inc@50"),
  "20 at a fixed budget": ("both", "r_inc_fixed@50"),
  "21 negatives of an ensemble": ("misses", "r_inc@50"),
}
Values = Mapping[str, Mapping[int, Mapping[str, float]]]


def data_of(role: str) -> str:
  """Of which data a role's runs are: the simulator's, a shop's or films."""
  _, _, data = role.partition("_")
  return data if data.startswith(("hidden", "retail")) else "all"


def metrics_of(document: Mapping[str, Any]) -> dict[str, float]:
  """Of test: the metrics of all, what is added, and "served/recall@K"."""
  sections = document["sections"]
  found = dict(sections["next_item"]["metrics"]["test"])
  found |= sections.get("incremental", {}).get("metrics", {}).get("test", {})
  served = sections.get("served", {}).get("recall", {}).get("served", {})
  return found | {f"served/{name}": value for name, value in served.items()}


def claims(metrics: Values) -> dict[str, Result]:
  """All claims; those whose arms are not there say so.

  Args:
    metrics: {role: {seed: {"ndcg@10": ...}}} on test.
  """
  found = {"13 more negatives": more_negatives(metrics)}
  found["15 hidden positives harm hard negatives more"] = hidden_harm(metrics)
  found["16 shared no worse than each position's"] = no_worse(metrics)
  for claim, (better, worse, metric) in ORDERS.items():
    found[claim] = compared(metrics, better, worse, metric)
  for data in ("", "_retail"):
    where = ", retail" if data else ""
    for claim, (better, metric) in ENSEMBLE.items():
      found[claim + where] = compared(
        metrics, better + data, f"none{data}", metric
      )
    found[f"27e given up for what is added{where}"] = given_up(metrics, data)
  correct(found)
  return found


def more_negatives(metrics: Values, metric: str = "ndcg@10") -> Result:
  """13: every step from 1 to 1,024 helps."""
  found = of_seeds(metrics, COUNTS, metric)
  if isinstance(found, str):
    return {"verdict": found}
  steps = np.diff(found, axis=0)
  return over_seeds(
    "holds at every step",
    [list(step) for step in steps],
    metric=metric,
    seeds=found.shape[1],
    figures=dict(zip(COUNTS, means(found), strict=True)),
  )


def hidden_harm(metrics: Values, metric: str = "ndcg@10") -> Result:
  """15, as it can be meant: what is hidden costs hard negatives more.

  Hidden events are lost to training too, whatever the negatives, so only the
  difference of two falls tells what false negatives do.
  """
  roles = [f"{k}_hidden{p}" for k in ("shared", "hard") for p in HIDDEN]
  found = of_seeds(metrics, roles, metric)
  if isinstance(found, str):
    return {"verdict": found}
  uniform_PS, hard_PS = found[: len(HIDDEN)], found[len(HIDDEN) :]
  more_S = (hard_PS[0] - hard_PS[-1]) - (uniform_PS[0] - uniform_PS[-1])
  return over_seeds(
    "holds of hard ones",
    [list(more_S)],
    metric=metric,
    seeds=found.shape[1],
    hidden_percent=list(HIDDEN),
    uniform=means(uniform_PS),
    hard=means(hard_PS),
  )


def no_worse(metrics: Values, metric: str = "ndcg@10") -> Result:
  """16's other half: shared ones cost less than MARGIN of quality."""
  found = of_seeds(metrics, ("shared", "per_position"), metric)
  if isinstance(found, str):
    return {"verdict": found}
  return over_seeds(
    f"holds within {MARGIN}",
    [list(found[0] - found[1] + MARGIN)],
    metric=metric,
    seeds=found.shape[1],
    figures=dict(zip(("shared", "per_position"), means(found), strict=True)),
  )


def given_up(metrics: Values, data: str) -> Result:
  """27e: weights add more to the ensemble, and find less alone."""
  roles = f"weights{data}", f"none{data}"
  added = of_seeds(metrics, roles, "r_inc@50")
  alone = of_seeds(metrics, roles, "hr@50")
  for found in (added, alone):
    if isinstance(found, str):
      return {"verdict": found}
  return over_seeds(
    "holds",
    [list(added[0] - added[1]), list(alone[1] - alone[0])],
    seeds=added.shape[1],
    added=dict(zip(roles, means(added), strict=True)),
    alone=dict(zip(roles, means(alone), strict=True)),
  )
