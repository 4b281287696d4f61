# SPDX-License-Identifier: Apache-2.0
"""Approximate search with ScaNN on the host: same seam as brute_force.

ScaNN scores quantised item vectors (asymmetric hashing with anisotropic loss,
Guo et al. 2020, arXiv 1908.10396) and re-scores the best of them exactly, so a
returned SCORE is exact and what is approximate is the list: an item may be
absent from it. Under `exact_below` items nothing is quantised and the list is
exact; above `tree_above` only a share of the item clusters is looked at.
retrieval/tuning.py finds the setting that reaches a recall.

The index knows no masks. With `allowed`, more places are fetched (k + the most
items that any query hides, but for those that allow none; at most `max_fetch`)
and hidden items are dropped; a query whose list then comes out short of min(k,
items it allows) is scored against all items. `aux["exact_rows"]` counts those
queries.

Published for Linux on x86-64 alone; retrieval/brute_force.py needs no package.
"""

import math
from typing import Any

import jax
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.data.item_mask import ItemMask

# An item also lies in a second cluster, where the first one's error does not
# show (SOAR, Sun et al. 2023, arXiv 2404.00774). On 1,000,000 x 64 vectors
# recall@100 of .95 takes an eighth of the clusters so, and a third without.
_SOAR = 1.5
_EXACT_BLOCK = 1 << 24  # Scores held at a time where rows are scored exactly.


def _scann_builder():
  """ScaNN's NumPy interface; importing it does not import TensorFlow."""
  try:
    from scann.scann_ops.py import scann_ops_pybind
  except ImportError as e:
    raise ImportError(
      "ScaNN cannot be imported. On Linux x86-64: pip install"
      " 'scann>=1.4.2,<1.5'; elsewhere use retrieval.brute_force.BruteForce"
      " (--retriever=brute_force)."
    ) from e
  return scann_ops_pybind.builder


class Scann:
  """Approximate retriever; make one with `Scann.build(item_vectors)`."""

  def __init__(
    self,
    searcher: Any,
    items: np.ndarray,
    max_fetch: int,
    leaves: int = 0,
    leaf_share: float = 1.0,
    reorder: int = 20,
  ):
    self._searcher = searcher
    self._items = items
    self._max_fetch = max_fetch
    self._leaves = leaves
    self._leaf_share = leaf_share
    self._reorder = reorder
    self.num_items = len(items)

  @classmethod
  def build(
    cls,
    item_vectors: Float[Array, "V1 D"] | Float[np.ndarray, "V1 D"],
    *,
    exact_below: int = 1_000,
    tree_above: int = 100_000,
    leaf_share: float = 0.25,
    max_fetch: int = 2_048,
  ) -> "Scann":
    """Trains the index on item vectors, row 0 = pad.

    Args:
      item_vectors: vectors whose inner product with a query is the score.
      exact_below: catalogues smaller than this are searched exactly.
      tree_above: catalogues larger than this are cut into 1.5 sqrt(V) clusters,
        an item into two.
      leaf_share: share of the clusters that a query looks at.
      max_fetch: most places fetched for one query (or k, if more).
    """
    builder = _scann_builder()
    items = np.ascontiguousarray(jax.device_get(item_vectors)[1:], np.float32)
    count = len(items)
    if not count:
      raise ValueError(
        "item_vectors has no row but the pad; it needs at least one item"
      )
    if not np.isfinite(items).all():
      row = int(np.flatnonzero(~np.isfinite(items).all(axis=1))[0]) + 1
      raise ValueError(f"the vector of item index {row} is not finite")
    index = builder(items, min(10, count), "dot_product")
    if count < exact_below:
      return cls(index.score_brute_force().build(), items, max_fetch)
    leaves = 3 * math.isqrt(count) // 2 if count > tree_above else 0
    if leaves:
      index = index.tree(
        leaves, math.ceil(leaf_share * leaves), soar_lambda=_SOAR
      )
    index = index.score_ah(2, anisotropic_quantization_threshold=0.2)
    searcher = index.reorder(200).build()
    return cls(searcher, items, max_fetch, leaves, leaf_share)

  def with_setting(self, leaf_share: float, reorder: int) -> "Scann":
    """The same index, searched with more or less care.

    Args:
      leaf_share: share of the clusters that a query looks at; without meaning
        where items are not cut into any.
      reorder: items that are re-scored exactly, for each place fetched.
    """
    return Scann(
      self._searcher,
      self._items,
      self._max_fetch,
      self._leaves,
      leaf_share,
      reorder,
    )

  def search(
    self,
    query: Float[Array, "B D"] | Float[np.ndarray, "B D"],
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Returns ids, exact scores, and {"exact_rows": n}; see the module.

    Places beyond the number of allowed items hold id 0 and score -inf. Ties
    among the returned items stand in order of their index.
    """
    query = np.ascontiguousarray(jax.device_get(query), np.float32)
    if query.shape[1] != self._items.shape[1]:
      raise ValueError(
        f"queries have width {query.shape[1]} and items"
        f" {self._items.shape[1]}; both must come from the same system"
      )
    possible = np.full(len(query), self.num_items)
    if allowed is not None:
      allowed.check(len(query), self.num_items)
      possible = allowed.count()
    # Rows that allow nothing, such as those that fill a batch up, need none.
    fewest = int(possible[possible > 0].min(initial=self.num_items))
    hidden = self.num_items - fewest
    fetch = min(self.num_items, max(k, min(k + hidden, self._max_fetch)))
    ids, scores = self._fetch(query, fetch, allowed)
    ids, scores = _best(ids, scores, k)
    short = (ids > 0).sum(axis=1) < np.minimum(k, possible)
    rows = np.flatnonzero(short & np.isfinite(query).all(axis=1))
    block = max(1, _EXACT_BLOCK // self.num_items)
    for start in range(0, len(rows), block):
      part = rows[start : start + block]
      keep = None if allowed is None else allowed[part]
      ids[part], scores[part] = self._exact(query[part], k, keep)
    return ids, scores, {"exact_rows": len(rows)}

  def _fetch(
    self,
    query: Float[np.ndarray, "B D"],
    fetch: int,
    allowed: ItemMask | None,
  ) -> tuple[Int[np.ndarray, "B F"], Float[np.ndarray, "B F"]]:
    """ScaNN's list, with absent and hidden items as id 0, score -inf."""
    wanted = max(self._reorder * fetch, 20 * self._reorder)
    rows, scores = self._searcher.search_batched_parallel(
      query,
      final_num_neighbors=fetch,
      pre_reorder_num_neighbors=min(self.num_items, max(wanted, fetch)),
      leaves_to_search=math.ceil(self._leaf_share * self._leaves) or None,
    )
    ids = rows.astype(np.int32) + 1
    # ScaNN marks places that it could not fill by a NaN.
    found = ~np.isnan(scores)
    if allowed is not None:
      found &= allowed.at(ids)
    return np.where(found, ids, 0), np.where(found, scores, -np.inf)

  def _exact(
    self,
    query: Float[np.ndarray, "B D"],
    k: int,
    allowed: ItemMask | None,
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """Scores all items."""
    scores = query @ self._items.T
    if allowed is not None:
      scores = np.where(allowed.dense()[:, 1:], scores, -np.inf)
    ids = np.arange(1, self.num_items + 1, dtype=np.int32)
    ids = np.where(scores == -np.inf, 0, ids[None, :])
    return _best(ids, scores, k)


def _best(
  ids: Int[np.ndarray, "B F"], scores: Float[np.ndarray, "B F"], k: int
) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
  """The k best, score descending, then lower id; filled where F < k."""
  order = np.lexsort((ids, -scores), axis=1)[:, :k]
  fill = ((0, 0), (0, max(k - ids.shape[1], 0)))
  return (
    np.pad(np.take_along_axis(ids, order, axis=1), fill),
    np.pad(
      np.take_along_axis(scores, order, axis=1), fill, constant_values=-np.inf
    ),
  )
