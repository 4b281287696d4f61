# SPDX-License-Identifier: Apache-2.0
"""What published claims about item codes look like on a data set.

Each function measures one thing on vectors and codes, in plain NumPy:

    recipe_row     used codes, uniqueness before and after each rule
    shared_prefix  how alike items are that share 1, 2, ... codes; and of
                   neighbours and random pairs, how many share them
    error_by_size  what residual k-means leaves unexplained, by levels and codes
    next_item      how often an item and the validation target after it share
                   codes, among all users
    co_bought      how many codes items share that stand side by side in
                   training histories, and how many by chance
    table          all of it, a line a recipe

studies/token_claims.py trains the recipes and prints the tables.
Shapes: N items, D width, M levels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.evaluation.code_quality import code_metrics, explained
from genrec_jax.semantic_ids.quality import quality
from genrec_jax.semantic_ids.quantizers.base import KnowsFit
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from genrec_jax.semantic_ids.quantizers.variable_codes import (
  VariableCodes,
  lengths,
)
from genrec_jax.semantic_ids.uniqueness import (
  RandomLastLevel,
  SinkhornLastLevel,
)

_BLOCK = 1024


def codes_of(
  fitted: Any, vectors_ND: Float[np.ndarray, "N D"]
) -> Int[np.ndarray, "N M"]:
  """Codes of the vectors that a tokenizer was fitted to, before any rule."""
  if seams.offers(fitted, KnowsFit):
    return fitted.fit_codes
  return fitted.encode(vectors_ND)


def recipe_row(
  fitted: Any, vectors_ND: Float[np.ndarray, "N D"]
) -> dict[str, Any]:
  """Quality of a fitted tokenizer's codes, and uniqueness after the rules."""
  codes_NM, sizes = codes_of(fitted, vectors_ND), fitted.level_sizes
  found = code_metrics(codes_NM, sizes)
  report = quality(codes_NM, sizes, vectors_ND=vectors_ND)
  used = [found.pop(f"used_{i + 1}") for i in range(len(sizes))]
  _, groups = np.unique(codes_NM, axis=0, return_counts=True)
  _, prefixes = np.unique(codes_NM[:, :-1], axis=0, return_counts=True)
  row = {
    **found,
    "used": used,
    "perplexity": [level["perplexity"] for level in report["levels"]],
    "neighbours_kept": report["neighbours"].get("recall_prefix", 0.0),
    "mean_length": float(len(sizes)),
    "explained": explained(vectors_ND, fitted.decode(codes_NM)),
    "distinct_by_depth": [
      len(np.unique(codes_NM[:, : d + 1], axis=0)) for d in range(len(sizes))
    ],
    "largest_group": int(groups.max()),
    "largest_prefix": int(prefixes.max()),
  }
  if isinstance(fitted, VariableCodes):
    # A rule that changes last codes would change lengths.
    row["mean_length"] = float(lengths(codes_NM, sizes).mean())
    return row
  random = RandomLastLevel(share_overflow=True).apply(codes_NM, sizes)
  row["unique_random_last"] = _unique(random)
  row["moved_random_last"] = _moved(random, codes_NM)
  if row["largest_prefix"] <= sizes[-1]:
    shared = SinkhornLastLevel().apply(
      codes_NM, sizes, lambda rows: fitted.last_level_costs(vectors_ND[rows])
    )
    row["unique_sinkhorn_last"] = _unique(shared)
    row["moved_sinkhorn_last"] = _moved(shared, codes_NM)
  return row


def _unique(codes_NM):
  return len(np.unique(codes_NM, axis=0)) / len(codes_NM)


def _moved(new_NM, old_NM):
  return float((new_NM != old_NM).any(axis=1).mean())


def shared_prefix(
  vectors_ND: Float[np.ndarray, "N D"],
  codes_NM: Int[np.ndarray, "N M"],
  neighbours: int = 10,
  sample: int = 2000,
  seed: int = 0,
) -> dict[str, Any]:
  """Cosine by shared prefix, and shared prefixes by cosine.

  Args:
    vectors_ND: of the items.
    codes_NM: before any uniqueness rule.
    neighbours: by cosine, of each sampled item.
    sample: items whose pairs with all others are looked at.
    seed: of the sample.
  """
  unit_ND = vectors_ND / np.maximum(
    np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12
  )
  rng = np.random.default_rng(seed)
  rows = rng.permutation(len(unit_ND))[:sample]
  levels = codes_NM.shape[1]
  total, count = np.zeros(levels + 1), np.zeros(levels + 1)
  near, chance, pairs = np.zeros(levels), np.zeros(levels), 0
  for start in range(0, len(rows), _BLOCK):
    some = rows[start : start + _BLOCK]
    cosine_nN = unit_ND[some] @ unit_ND.T
    cosine_nN[np.arange(len(some)), some] = -np.inf
    equal_nNM = codes_NM[some][:, None] == codes_NM[None]
    depth_nN = np.cumprod(equal_nNM, axis=2).sum(axis=2)
    other_nN = np.isfinite(cosine_nN)
    for depth in range(levels + 1):
      mask_nN = other_nN & (depth_nN >= depth)
      total[depth] += cosine_nN[mask_nN].sum()
      count[depth] += mask_nN.sum()
    best_nK = np.argpartition(-cosine_nN, neighbours, axis=1)[:, :neighbours]
    best_nK = np.take_along_axis(depth_nN, best_nK, axis=1)
    for depth in range(1, levels + 1):
      near[depth - 1] += (best_nK >= depth).sum()
      chance[depth - 1] += ((depth_nN >= depth) & other_nN).sum()
    pairs += other_nN.sum()
  return {
    "cosine_by_depth": (total / np.maximum(count, 1)).tolist(),
    "neighbours_share": (near / (len(rows) * neighbours)).tolist(),
    "random_pairs_share": (chance / pairs).tolist(),
  }


def error_by_size(
  vectors_ND: Float[np.ndarray, "N D"],
  levels: Sequence[int] = (1, 2, 3, 4, 6, 8),
  sizes: Sequence[int] = (16, 64, 256, 1024),
  seed: int = 0,
) -> list[dict[str, Any]]:
  """Unexplained share of the variance, of residual k-means by M and C.

  Levels are nested, so the largest number of levels gives all the others.
  """
  rows = []
  for size in sizes:
    if size > len(vectors_ND):
      continue
    fitted = ResidualKMeans((size,) * max(levels)).fit(vectors_ND, seed=seed)
    codes_NM = fitted.encode(vectors_ND)
    left_ND, done = vectors_ND.copy(), 0
    for level in range(max(levels)):
      left_ND = left_ND - fitted.codebooks[level][codes_NM[:, level]]
      done += 1
      if done in levels:
        share = 1 - explained(vectors_ND, vectors_ND - left_ND)
        rows.append({"levels": done, "codes": size, "unexplained": share})
  return rows


def next_item(
  histories: HistorySource, codes_VM: Int[np.ndarray, "V1 M"]
) -> dict[str, Any]:
  """Share of users whose last training item shares codes with what came next.

  Args:
    histories: the item after the training part is the validation target.
    codes_VM: by item index, row 0 padding.
  """
  pairs = []
  for user in range(len(histories)):
    record = histories[user]
    end = histories.split.train_end(record)
    if 0 < end < len(record["item"]):
      pairs.append(record["item"][end - 1 : end + 1])
  a, b = np.array(pairs).T
  same_PM = np.cumprod(codes_VM[a] == codes_VM[b], axis=1)
  return {"users": len(pairs), "share_by_depth": same_PM.mean(axis=0).tolist()}


def co_bought(
  histories: HistorySource,
  codes_VM: Int[np.ndarray, "V1 M"],
  seed: int = 0,
) -> dict[str, Any]:
  """Codes that neighbours in training histories share, and random pairs.

  Args:
    histories: only the part before train_end is read.
    codes_VM: by item index, row 0 padding.
    seed: of the random pairs: the same items, shuffled.

  Returns:
    "pairs"; of neighbours and by chance, the share of equal codes at the same
    level ("similarity"), and by depth that of equal first codes ("prefix").
  """
  pairs = [np.zeros((0, 2), np.int64)]
  for user in range(len(histories)):
    record = histories[user]
    item = record["item"][: histories.split.train_end(record)]
    pairs.append(np.stack([item[:-1], item[1:]], axis=1))
  a, b = np.concatenate(pairs).T
  a, b = a[a != b], b[a != b]
  shuffled = np.random.default_rng(seed).permutation(b)
  row: dict[str, Any] = {"pairs": len(a)}
  for name, other in (("beside", b), ("chance", shuffled)):
    same_PM = codes_VM[a] == codes_VM[other]
    row[name] = {
      "similarity": float(same_PM.mean()),
      "prefix": np.cumprod(same_PM, axis=1).mean(axis=0).tolist(),
    }
  return row


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """The recipes as a table in Markdown."""
  names = (
    "recipe",
    "unique",
    "codes used, %",
    "perplexity",
    "codes an item",
    "explained",
    "neighbours kept",
    "ids of co-bought items alike",
    "first code",
  )
  lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
  for name, row in rows.items():
    beside, chance = row["co_bought"]["beside"], row["co_bought"]["chance"]
    cells = (
      name,
      f"{row['uniqueness']:.2%}",
      " / ".join(f"{100 * share:.0f}" for share in row["used"]),
      " / ".join(f"{value:,.0f}" for value in row["perplexity"]),
      f"{row['mean_length']:.2f}",
      f"{row['explained']:.3f}",
      f"{row['neighbours_kept']:.3f}",
      f"{beside['similarity']:.3f} ({chance['similarity']:.3f})",
      f"{beside['prefix'][0]:.3f} ({chance['prefix'][0]:.3f})",
    )
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)
