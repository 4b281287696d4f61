# SPDX-License-Identifier: Apache-2.0
"""What a list finds of a set of items that are all right, such as a basket.

    recall@K = hits in K places / min(K, n)                  n right items
    ndcg@K   = sum over hits of 1 / log2(r + 1) / that of min(K, n) first places
    hr@K     = 1 where there is a hit

A recall of 1 can be reached, whatever n is. A place that repeats an item of an
earlier one is no hit. One value per list, float64; the mean is the caller's.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.metrics.lists import first_places, repeats

NAMES = ("recall", "ndcg", "hr")


def found_items(
  lists_UK: Int[np.ndarray, "U K"],
  right: Sequence[Int[np.ndarray, "_"]],
  ks: Sequence[int],
  num_items: int,
) -> dict[str, Float[np.ndarray, "U"]]:
  """ "recall@K", "ndcg@K" and "hr@K" of every list.

  Args:
    lists_UK: items by place; 0 = empty.
    right: of each list its right items, different and at least one.
    ks: cut-offs.
    num_items: V.

  Raises:
    ValueError: fewer places than a cut-off asks for, or a set without items.
  """
  hit_UK = np.zeros(lists_UK.shape, bool)
  count_U = np.zeros(len(right), np.int64)
  for row, items in enumerate(right):
    count_U[row] = len(np.unique(items))
    if not count_U[row]:
      raise ValueError(f"list {row} has no right item to be found.")
    hit_UK[row] = np.isin(lists_UK[row], items) & (lists_UK[row] > 0)
  hit_UK &= ~repeats(lists_UK)
  found = {}
  for k in ks:
    hit_Uk = (
      hit_UK[:, :k]
      & (first_places(lists_UK, k, num_items) > 0)[:, : hit_UK.shape[1]]
    )
    gain_k = 1 / np.log2(np.arange(2, k + 2))
    best_U = np.minimum(count_U, k)
    found[f"recall@{k}"] = hit_Uk.sum(axis=1) / best_U
    ideal_U = np.cumsum(gain_k)[best_U - 1]
    found[f"ndcg@{k}"] = hit_Uk @ gain_k[: hit_Uk.shape[1]] / ideal_U
    found[f"hr@{k}"] = hit_Uk.any(axis=1).astype(np.float64)
  return found
