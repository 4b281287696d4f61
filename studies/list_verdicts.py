# SPDX-License-Identifier: Apache-2.0
"""What seeds say of lists: popularity, halves of the items, equal NDCG.

Of sections that evaluation.BeyondAccuracy has measured; studies/list_claims.py
is the command, and says what the claims are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax.metrics.list_diversity import intra_list_diversity
from genrec_jax.metrics.ranking import per_request
from genrec_jax.metrics.slices import COLD
from studies.verdicts import Result, correct, difference, over_seeds

K = 10
_LISTS = ("recall", "coverage", "gini", "miuf", "ild", "miscalibration")

Section = Mapping[str, Any]


def lift(section: Section, ranker: str = "model") -> float:
  """By how much the lists are more popular than the histories; 0 = alike."""
  return section["metrics"][ranker][f"group_lift@{K}"]


def halves(section: Section, ranker: str = "model") -> dict[str, float]:
  """Recall of targets from the upper and the lower half of the items.

  Items without training events are neither.

  Raises:
    ValueError: no request asks for an item of one half.
  """
  slices = section["slices"][ranker]["item_popularity"]
  # From the least popular one on, as metrics/slices.py cuts them.
  known = [s for name, s in slices.items() if name != COLD]
  middle = sum(s["items"] for s in known) / 2
  found, passed = {"lower": [], "upper": []}, 0
  for part in known:
    half = "lower" if passed + part["items"] / 2 < middle else "upper"
    passed += part["items"]
    if part["requests"]:
      found[half].append((part["requests"], part[f"recall@{K}"]))
  for half, parts in found.items():
    if not parts:
      raise ValueError(f"no test request asks for an item of the {half} half.")
  return {
    half: float(
      np.average([r for _, r in parts], weights=[n for n, _ in parts])
    )
    for half, parts in found.items()
  }


def verdicts(values: Mapping[str, Mapping[int, float]]) -> dict[str, Result]:
  """What seeds say of values that are claimed to be above 0, all together.

  Args:
    values: {what is claimed: {seed: value}}.
  """
  found = {}
  for name, by_seed in values.items():
    every = list(by_seed.values())
    interval = difference(every, [0.0] * len(every))
    figures = {"mean": round(float(np.mean(every)), 4)}
    if interval is not None:
      figures["over_seeds"] = [round(interval.low, 4), round(interval.high, 4)]
    found[name] = over_seeds("holds", [every], **figures)
  correct(found)
  return found


def equal_lists() -> dict[str, Any]:
  """Two lists of ten with the target at one rank: one kind, and ten kinds."""
  rank = 4
  kinds = np.eye(K, dtype=np.float32)
  # Row 0 is padding; items 1-10 are of one kind each, 11-20 all of the first.
  vectors = np.concatenate([kinds[:1] * 0, kinds, kinds[[0] * K]])
  lists = np.stack([np.arange(1, K + 1), np.arange(K + 1, 2 * K + 1)])
  ndcg = per_request(np.array([rank, rank]), ks=(K,))[f"ndcg@{K}"]
  diversity = intra_list_diversity(lists.astype(np.int32), vectors)
  same = ndcg[0] == ndcg[1] and diversity[0] != diversity[1]
  return {
    "verdict": "holds" if same else "fails",
    "rests_on": "the definition",
    f"ndcg@{K}": [round(float(v), 4) for v in ndcg],
    f"ild@{K}": [round(float(v), 4) for v in diversity],
  }


def _row(section: Section, ranker: str) -> dict[str, float]:
  values = section["metrics"][ranker]
  row = {n: values.get(f"{n}@{K}") for n in _LISTS}
  row |= {"lift": lift(section, ranker)}
  row |= {f"recall_{k}": v for k, v in halves(section, ranker).items()}
  return {k: round(v, 4) for k, v in row.items() if v is not None}


def claims(sections: Mapping[str, Mapping[int, Section]]) -> dict[str, Any]:
  """All claims.

  Args:
    sections: {name of a config: {seed: section of BeyondAccuracy}}.
  """
  values = {}
  for name, by_seed in sections.items():
    values[f"141 {name}"] = {s: lift(part) for s, part in by_seed.items()}
    found = {s: halves(part) for s, part in by_seed.items()}
    values[f"146 {name}"] = {
      s: h["upper"] - h["lower"] for s, h in found.items()
    }
  some = next(iter(next(iter(sections.values())).values()))
  rows = {
    name: _mean_row([_row(part, "model") for part in by_seed.values()])
    for name, by_seed in sections.items()
  }
  rows |= {n: _row(some, n) for n in some["metrics"] if n != "model"}
  return {"claims": {**verdicts(values), "142": equal_lists()}, "lists": rows}


def _mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
  return {
    k: round(float(np.mean([row[k] for row in rows])), 4) for k in rows[0]
  }
