# SPDX-License-Identifier: Apache-2.0
"""The nearest items within clusters, on the host: an index of each cluster.

    a cluster   the items that share all codes: a slice of vectors in the
                trie's order, scored by one product; or, of more than
                `approximate_above` items, a ScaNN index of its own

A query costs what its cluster holds, where retrieval/cluster_table.py costs
what the largest one holds; vectors and scores never leave the host. ScaNN
learns its own partition and takes none from outside, so that codes become a
partition by an index each. The answers are those of the table (a ScaNN list
may lack items; its scores are exact).
"""

from collections.abc import Mapping
import dataclasses

import jax
from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.cluster_table import Near
from genrec_jax.retrieval.scann import Scann
from genrec_jax.retrieval.strategy import SearchItems

_EPSILON = 1e-6  # as ops/norm.py


@dataclasses.dataclass(frozen=True)
class ClusterIndex:
  """Items in the trie's order; make one with `ClusterIndex.build`.

  Attributes:
    ends_S1: where each leaf's items begin, and the last one's end.
    ids_N: of the items.
    unit_ND: their vectors, of length 1.
    approximate: ScaNN indexes by leaf.
  """

  ends_S1: Int[np.ndarray, "S1"]
  ids_N: Int[np.ndarray, "N"]
  unit_ND: Float[np.ndarray, "N D"]
  approximate: Mapping[int, Scann]

  @classmethod
  def build(
    cls, items: SearchItems, approximate_above: int | None = None
  ) -> "ClusterIndex":
    """Sorts the vectors by codes.

    Args:
      items: with vectors that this process holds.
      approximate_above: items of a cluster from which on it gets an index of
        ScaNN; None: none does.

    Raises:
      ImportError: ScaNN is asked for and cannot be imported.
    """
    trie = items.trie
    ends_S1, ids_N = jax.device_get((trie.first_item[-1], trie.items_N))
    unit_ND = _unit(jax.device_get(items.vectors_RD)[ids_N])
    approximate = {}
    if approximate_above is not None:
      for leaf in np.flatnonzero(np.diff(ends_S1) > approximate_above):
        rows = unit_ND[ends_S1[leaf] : ends_S1[leaf + 1]]
        padded = np.pad(rows, ((1, 0), (0, 0)))
        approximate[int(leaf)] = _approximate(padded)
    return cls(ends_S1, ids_N, unit_ND, approximate)

  def nearest(
    self,
    leaves_BK: Int[np.ndarray, "B K"],
    there_BK: Bool[np.ndarray, "B K"],
    query_BKD: Float[np.ndarray, "B K D"],
    allowed: ItemMask | None,
    *,
    num_neighbors: int,
    scale: int | float,
    with_total: bool = True,
  ) -> Near:
    """As nearest_in_table; N is num_neighbors.

    Args:
      leaves_BK: codes, as states of the trie's last depth.
      there_BK: which of them count.
      query_BKD: of each beam.
      allowed: items that each request may get; None = all.
      num_neighbors: N.
      scale: multiplies a cosine.
      with_total: whether total_BK is asked for, which takes all scores; else
        it is NaN.
    """
    beams = leaves_BK.shape
    shape = (leaves_BK.size, num_neighbors)
    ids_PN = np.zeros(shape, np.int32)
    scores_PN = np.full(shape, -np.inf, np.float32)
    total_P = np.full(leaves_BK.size, -np.inf if with_total else np.nan)
    query_PD = _unit(query_BKD.reshape(leaves_BK.size, -1))
    leaves_P = np.where(there_BK, leaves_BK, -1).reshape(-1)
    order_P = np.argsort(leaves_P, kind="stable")
    order_P = order_P[np.searchsorted(leaves_P[order_P], 0) :]
    starts = np.flatnonzero(np.diff(leaves_P[order_P], prepend=-1))
    for places in np.split(order_P, starts[1:]) if len(order_P) else ():
      leaf, of_row = int(leaves_P[places[0]]), None
      if allowed is not None:
        of_row = allowed[places // beams[1]]
      ask = self._exact if with_total else self._nearest
      ids_QN, scores_QN, total_Q = ask(
        leaf, query_PD[places], of_row, num_neighbors, scale
      )
      ids_PN[places, : ids_QN.shape[1]] = ids_QN
      scores_PN[places, : ids_QN.shape[1]] = scores_QN
      if with_total:
        total_P[places] = total_Q
    return Near(
      ids_PN.reshape(*beams, -1),
      scores_PN.reshape(*beams, -1),
      total_P.astype(np.float32).reshape(beams),
    )

  def _nearest(self, leaf, query_QD, allowed, k, scale):
    """As _exact, by the leaf's index where it has one; no total."""
    if leaf not in self.approximate:
      return self._exact(leaf, query_QD, allowed, k, scale, with_total=False)
    ids_G, kept_QG = self._cluster(leaf, allowed)
    mask = None
    if kept_QG is not None:
      mask = ItemMask.of(np.pad(kept_QG, ((0, 0), (1, 0))))
    near_QN, cosines_QN, _ = self.approximate[leaf].search(query_QD, k, mask)
    there_QN = near_QN > 0
    # No product with -inf: a scale may be 0.
    scores_QN = np.where(there_QN, scale, 1) * cosines_QN
    return np.where(there_QN, ids_G[near_QN - 1], 0), scores_QN, None

  def _exact(self, leaf, query_QD, allowed, k, scale, with_total=True):
    """Ids and scores (Q, at most k), and log of the sum of all."""
    ids_G, kept_QG = self._cluster(leaf, allowed)
    rows_GD = self.unit_ND[self.ends_S1[leaf] : self.ends_S1[leaf + 1]]
    scores_QG = scale * (query_QD @ rows_GD.T)
    if kept_QG is not None:
      scores_QG[~kept_QG] = -np.inf
    columns_QN = best_columns(scores_QG, k)
    scores_QN = np.take_along_axis(scores_QG, columns_QN, axis=1)
    ids_QN = np.where(scores_QN > -np.inf, ids_G[columns_QN], 0)
    return ids_QN, scores_QN, _log_sum(scores_QG) if with_total else None

  def _cluster(self, leaf, allowed):
    """Ids of a leaf's items, and which of them each row allows."""
    ids_G = self.ids_N[self.ends_S1[leaf] : self.ends_S1[leaf + 1]]
    if allowed is None:
      return ids_G, None
    rows_QG = np.broadcast_to(ids_G, (len(allowed), len(ids_G)))
    return ids_G, allowed.at(rows_QG)


def best_columns(
  scores_QG: Float[np.ndarray, "Q G"], k: int
) -> Int[np.ndarray, "Q N"]:
  """Columns of the k best (or all), score descending, then column ascending."""
  count = scores_QG.shape[1]
  if count <= 4 * k:
    return np.argsort(-scores_QG, axis=1, kind="stable")[:, :k]
  kth_Q1 = np.partition(scores_QG, count - k, axis=1)[:, count - k, None]
  reached_QG = scores_QG >= kth_Q1
  # Where several tie for the last place, or too few are allowed, all are
  # sorted.
  plain_Q = reached_QG.sum(axis=1) == k
  columns_QN = np.empty((len(scores_QG), k), np.int64)
  few = np.nonzero(reached_QG[plain_Q])[1].reshape(-1, k)
  some = np.take_along_axis(scores_QG[plain_Q], few, axis=1)
  order = np.argsort(-some, axis=1, kind="stable")
  columns_QN[plain_Q] = np.take_along_axis(few, order, axis=1)
  rest = np.argsort(-scores_QG[~plain_Q], axis=1, kind="stable")
  columns_QN[~plain_Q] = rest[:, :k]
  return columns_QN


def _approximate(rows: Float[np.ndarray, "G1 D"]) -> Scann:
  try:
    return Scann.build(rows)
  except ImportError as error:
    raise ImportError(
      f"{error} Or search clusters exactly:"
      " config.retrieval.approximate_above=None."
    ) from error


def _unit(rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
  rows = np.asarray(rows, np.float32)
  lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
  return rows / np.maximum(lengths, _EPSILON)


def _log_sum(scores_QG: Float[np.ndarray, "Q G"]) -> Float[np.ndarray, "Q"]:
  """logsumexp of each row; -inf of nothing."""
  most_Q1 = scores_QG.max(axis=1, keepdims=True, initial=-np.inf)
  most_Q1 = np.where(most_Q1 > -np.inf, most_Q1, 0)
  with np.errstate(divide="ignore"):
    return np.log(np.exp(scores_QG - most_Q1).sum(axis=1)) + most_Q1[:, 0]
