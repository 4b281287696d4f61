# SPDX-License-Identifier: Apache-2.0
"""What stands in the section of evaluation/search_stages.py, of its answers.

clusters   how many IDs have how many items, in bins that double
stages     share of requests by stage, at every cut-off; they add up to 1
ceiling    share of targets whose codes are among the first M beams, by M
scores     of targets in their lists, and of all other places: histograms
lists      distinct IDs of a list, and the exposure of items
grid       {"options", "metrics"} of every combination
"""

from collections.abc import Iterable, Mapping
import dataclasses
import math
from typing import Any

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.decoding.trie import Trie
from genrec_jax.metrics.exposure import Exposure

STAGES = ("beam", "cold", "order", "lost", "hidden")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BEAMS = (1, 2, 5, 10, 20, 50, 100, 200)
_BINS = 40


@dataclasses.dataclass(frozen=True)
class Asked:
  """What a search answered to many requests; columns by request.

  Attributes:
    ids_RK, scores_RK, leaves_RK: the lists; leaves count from 1, 0 is none.
    target_R: what each asks for.
    place_R: of its codes among the beams, from 1 on; 0 = not there.
    cold_R: whether it is cold.
    hidden_R: whether it was not allowed.
  """

  ids_RK: Int[np.ndarray, "R K"]
  scores_RK: Float[np.ndarray, "R K"]
  leaves_RK: Int[np.ndarray, "R K"]
  target_R: Int[np.ndarray, "R"]
  place_R: Int[np.ndarray, "R"]
  cold_R: Bool[np.ndarray, "R"]
  hidden_R: Bool[np.ndarray, "R"]

  def rank_R(self) -> Int[np.ndarray, "R"]:
    """Place of the target in its list, from 1 on; 0 = not there."""
    hit_RK = (self.ids_RK == self.target_R[:, None]) & (self.target_R > 0)[
      :, None
    ]
    return np.where(hit_RK.any(axis=1), hit_RK.argmax(axis=1) + 1, 0)


def leaves_of(trie: Trie, ids: Int[np.ndarray, "..."]) -> np.ndarray:
  """Leaves of items, from 1 on; 0 of what has none."""
  place = np.asarray(trie.place_V1)[ids]
  ends = np.asarray(trie.first_item[-1])[1:]
  leaves = np.searchsorted(ends, np.maximum(place, 0), side="right") + 1
  return np.where((place >= 0) & (ids > 0), leaves, 0)


def cluster_sizes(trie: Trie) -> dict[str, Any]:
  """How many IDs have how many items, in bins that double."""
  size_S = np.diff(np.asarray(trie.first_item[-1]))
  size_S = size_S[size_S > 0]
  bins, low = [], 1
  while len(size_S) and low <= size_S.max():
    high = 2 * low - 1
    inside = (size_S >= low) & (size_S <= high)
    bins.append(
      {
        "from": low,
        "to": high,
        "ids": int(inside.sum()),
        "items": int(size_S[inside].sum()),
      }
    )
    low = high + 1
  return {
    "ids": len(size_S),
    "possible": math.prod(trie.level_sizes),
    "items": int(size_S.sum()),
    "largest": int(size_S.max(initial=0)),
    "mean": float(size_S.mean()) if len(size_S) else 0.0,
    "bins": bins,
  }


def stages(asked: Asked, k: int, adds_cold: bool) -> dict[str, float]:
  """Share of requests by stage; they add up to 1."""
  rank_R = asked.rank_R()
  hit_R = (rank_R > 0) & (rank_R <= k)
  proposed_R = asked.place_R > 0
  candidate_R = proposed_R | (asked.cold_R & adds_cold)
  found = {
    "beam": hit_R & proposed_R,
    "cold": hit_R & ~proposed_R,
    "order": ~hit_R & candidate_R & ~asked.hidden_R,
    "lost": ~hit_R & ~candidate_R & ~asked.hidden_R,
    "hidden": ~hit_R & asked.hidden_R,
  }
  return {name: float(found[name].mean()) for name in STAGES}


def ceiling(asked: Asked, num_beams: int) -> dict[str, float]:
  """Share of targets whose codes are among the first M beams, by M."""
  beams = [m for m in _BEAMS if m < num_beams]
  place_R = asked.place_R
  return {
    str(m): float(((place_R > 0) & (place_R <= m)).mean())
    for m in (*beams, num_beams)
  }


def scores_of(asked: Asked, k: int) -> dict[str, Any]:
  """Scores of targets, and of all other places among the first k."""
  ids_RK, scores_RK = asked.ids_RK[:, :k], asked.scores_RK[:, :k]
  target_RK = ids_RK == asked.target_R[:, None]
  there_RK = ids_RK > 0
  kinds = {
    "hits": scores_RK[target_RK & there_RK],
    "others": scores_RK[~target_RK & there_RK],
  }
  every = scores_RK[there_RK]
  low, high = (float(every.min()), float(every.max())) if len(every) else (0, 0)
  edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
  found: dict[str, Any] = {"edges": [round(float(e), 4) for e in edges]}
  for name, values in kinds.items():
    found[name] = {
      "count": len(values),
      "bins": np.histogram(values, edges)[0].tolist(),
      "quantiles": [
        round(float(q), 4) for q in np.quantile(values, QUANTILES)
      ] if len(values) else [],
    }  # fmt: skip
  return found


def lists(asked: Asked, k: int, trie: Trie) -> dict[str, float | None]:
  """Distinct IDs of a list, and the exposure of items, in the first k."""
  leaves_RK = np.sort(asked.leaves_RK[:, :k], axis=1)
  new_RK = np.diff(leaves_RK, axis=1, prepend=0) > 0
  num_items = trie.place_V1.shape[0] - 1
  exposure = Exposure.from_batch(asked.ids_RK[:, :k], num_items).compute()
  return {
    "distinct_ids": float(new_RK.sum(axis=1).mean()),
    "distinct_ids_of_all": len(np.unique(leaves_RK[leaves_RK > 0])),
    "filled": float((asked.ids_RK[:, :k] > 0).mean()),
    "coverage": exposure["coverage"],
    "top_1_percent": exposure["top_1_percent"],
  }


def stages_table(section: Mapping[str, Any]) -> str:
  """Lines of text."""
  clusters = section["clusters"]
  lines = [
    f"stages of the search, {section['requests']:,} {section['part']} requests,"
    f" {section['num_beams']} beams:",
    f"  {clusters['items']:,} items share {clusters['ids']:,} IDs of"
    f" {clusters['possible']:,}; the largest has {clusters['largest']:,}",
  ]
  for k in section["ks"]:
    found, shown = section["stages"][str(k)], section["lists"][str(k)]
    lines += [
      f"  first {k}: " + ", ".join(f"{n} {v:.2%}" for n, v in found.items()),
      f"  first {k}: {shown['distinct_ids']:.2f} distinct IDs a list, coverage"
      f" {_or_dash(shown['coverage'])}, the top 1 % of items has"
      f" {_or_dash(shown['top_1_percent'])} of the places",
    ]
  reached = (f"{m} {v:.2%}" for m, v in section["ceiling"].items())
  lines.append("  targets among the first beams: " + ", ".join(reached))
  lines += grid_lines(section["grid"], section["grid_users"])
  return "\n".join(lines)


def grid_lines(rows: Iterable[Mapping[str, Any]], users: int) -> list[str]:
  """A table of all combinations."""
  rows = list(rows)
  if not rows:
    return []
  names = [*rows[0]["options"], *rows[0]["metrics"]]
  width = max(len(name) for name in names) + 2
  lines = [
    f"  other options, {users:,} validation users at most:",
    "".join(f"{name:>{width}}" for name in names),
  ]
  for row in rows:
    values = [f"{v:g}" if isinstance(v, float) else f"{v}" for v in
              row["options"].values()]  # fmt: skip
    values += [_or_dash(v) for v in row["metrics"].values()]
    lines.append("".join(f"{value:>{width}}" for value in values))
  return lines


def _or_dash(value: float | None) -> str:
  return "-" if value is None else f"{value:.4f}"
