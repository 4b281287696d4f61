# SPDX-License-Identifier: Apache-2.0
"""What changes for a model when one table of item tokens replaces another.

    report = migration(ItemTokens.load("old"), ItemTokens.load("new"))

Drift: of the items in both, the share whose prefix of each depth is another.
Codes are only names, so the codes of each level are also matched one to one by
overlap (the assignment that keeps most items in place): what still differs then
was regrouped, not renamed. `renamed[level][old]` is the new code, or -1: rows
of a trained embedding can be moved along it.
"""

from typing import Any

from jaxtyping import Int
import numpy as np
from scipy.optimize import linear_sum_assignment

from genrec_jax.semantic_ids.item_tokens import ItemTokens


def migration(old: ItemTokens, new: ItemTokens) -> dict[str, Any]:
  """Drift and the best renaming of codes between two tables, as JSON values.

  Items that are live in both are compared, over the levels that both have.
  """
  both = sorted(_live(old) & _live(new))
  depth = min(len(old.level_sizes), len(new.level_sizes))
  a_NM = old.for_catalog(both)[:, :depth]
  b_NM = new.for_catalog(both)[:, :depth]
  names = [
    match_codes(a_N, b_N, old.level_sizes[m], new.level_sizes[m])
    for m, (a_N, b_N) in enumerate(zip(a_NM.T, b_NM.T, strict=True))
  ]
  renamed_NM = np.stack(
    [name_C[a_N] for name_C, a_N in zip(names, a_NM.T, strict=True)], axis=1
  )
  return {
    "old": {"version": old.version, "revision": old.revision},
    "new": {"version": new.version, "revision": new.revision},
    "items_in_both": len(both),
    "items_only_old": len(_live(old)) - len(both),
    "items_only_new": len(_live(new)) - len(both),
    "depths": [
      {
        "depth": d,
        "changed": _differing(a_NM[:, :d], b_NM[:, :d]),
        "changed_after_renaming": _differing(renamed_NM[:, :d], b_NM[:, :d]),
      }
      for d in range(1, depth + 1)
    ],
    "renamed": [name_C.tolist() for name_C in names],
  }


def match_codes(
  old_N: Int[np.ndarray, "N"],
  new_N: Int[np.ndarray, "N"],
  old_size: int,
  new_size: int,
) -> Int[np.ndarray, "C"]:
  """New code of each old one, one to one, keeping the most items in place.

  Codes without a common item, and those beyond the new level's size, get -1.
  """
  overlap = np.zeros((old_size, new_size), np.int64)
  np.add.at(overlap, (old_N, new_N), 1)
  rows, columns = linear_sum_assignment(overlap, maximize=True)
  name_C = np.full(old_size, -1)
  kept = overlap[rows, columns] > 0
  name_C[rows[kept]] = columns[kept]
  return name_C


def _live(table: ItemTokens) -> set[str]:
  return {table.item_ids[i] for i in np.flatnonzero(table.live)}


def _differing(a_Nd: np.ndarray, b_Nd: np.ndarray) -> float:
  return float((a_Nd != b_Nd).any(axis=1).mean()) if len(a_Nd) else 0.0
