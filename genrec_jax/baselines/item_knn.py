# SPDX-License-Identifier: Apache-2.0
"""The baseline that knows items by who took them: item-item nearest neighbours.

With U_i the users who have item i in their TRAINING part,

    sim(i, j)   = |U_i n U_j| / (sqrt(|U_i| |U_j|) + shrinkage),  sim(i, i) = 0
    score(j)    = sum_{a < window} decay^a sim(h_a, j)

where h_0 is the last item of the history, h_1 the one before, and so on. Of
each row of sim the `neighbours` largest are kept (ties: lower index). Sums are
taken in float64. The history is everything before the target, as every ranker
gets it; only sim is limited to the training part.
Cosine over users: Sarwar et al., Item-based collaborative filtering
recommendation algorithms, WWW 2001; Deshpande and Karypis, TOIS 2004.

The product of the sparse (users, items) table with itself is made a block of
items at a time; cost sum_u |events of u|^2, memory block x V at most.
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np
from scipy import sparse
from tqdm import tqdm

from genrec_jax.baselines.top_k import top_k
from genrec_jax.data.dataset.histories import Histories, HistorySource
from genrec_jax.data.dataset.requests import Requests, iter_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.metrics.ranking import MISS, per_request

# What `tune` tries: how far back to look, and how fast that fades.
WINDOWS = (
  (1, 1.0),
  (2, 0.5),
  (3, 0.7),
  (5, 0.8),
  (10, 0.9),
  (30, 0.95),
  (200, 1.0),
)
NEIGHBOURS = (30, 200, 1000)
SHRINKAGES = (0.0, 10.0, 50.0)
# Item pairs that are counted at a time, 12 bytes each at most.
_BLOCK_ENTRIES = 2**24


@runtime_checkable
class CountedData(HistorySource, Protocol):
  """Histories whose training part is counted: a data set, or a part of one."""

  manifest: Any


@dataclasses.dataclass(frozen=True)
class ItemKNN:
  """Ranks items by their similarity to the latest items of the history.

  Attributes:
    similarity: (V + 1, V + 1) sparse; row i holds the neighbours of item i.
    window: how many of the last events count.
    decay: weight of an event relative to the one after it.
    neighbours, shrinkage: what the similarity was built with.
  """

  similarity: sparse.csr_array
  window: int
  decay: float
  neighbours: int
  shrinkage: float

  @classmethod
  def build(
    cls,
    histories: CountedData,
    *,
    neighbours: int = 100,
    window: int = 10,
    decay: float = 0.9,
    shrinkage: float = 0.0,
  ) -> "ItemKNN":
    """Counts co-occurrence over the training part of all users."""
    if min(neighbours, window) < 1 or decay <= 0 or shrinkage < 0:
      raise ValueError(
        f"neighbours={neighbours} and window={window} must be at least 1,"
        f" decay={decay} above 0 and shrinkage={shrinkage} at least 0"
      )
    taken = _user_items(histories)
    similarity = _similarity(taken, neighbours, shrinkage)
    return cls(similarity, window, decay, neighbours, shrinkage)

  @classmethod
  def tune(
    cls,
    histories: Histories,
    *,
    filter_history: bool = True,
    max_users: int = 1000,
    seed: int = 0,
    neighbours: Sequence[int] = NEIGHBOURS,
    windows: Sequence[tuple[int, float]] = WINDOWS,
    shrinkages: Sequence[float] = SHRINKAGES,
  ) -> "ItemKNN":
    """Builds the one with the best NDCG@10 on VALIDATION targets.

    Args:
      histories: a prepared data set.
      filter_history: whether it will be evaluated with the history hidden.
      max_users: how many users' validation targets to choose by (seeded).
      seed: of that draw.
      neighbours, windows, shrinkages: the grid; windows are (window, decay).

    Raises:
      ValueError: the split has no validation targets.
    """
    batches = list(
      iter_requests(
        histories, "validation", 256, max_users=max_users, seed=seed
      )
    )
    if not batches:
      raise ValueError(
        "there is nothing to tune item-kNN on: no user has a validation target"
      )
    taken = _user_items(histories)
    best, best_value = None, -1.0
    progress = tqdm(
      desc="tune item-kNN",
      total=len(shrinkages) * len(neighbours) * len(windows),
      delay=2,
    )
    with progress:
      for shrinkage in shrinkages:
        widest = _similarity(taken, max(neighbours), shrinkage)
        for count, (window, decay) in itertools.product(neighbours, windows):
          candidate = cls(
            _first_neighbours(widest, count), window, decay, count, shrinkage
          )
          value = candidate.ndcg(batches, 10, filter_history=filter_history)
          if value > best_value:
            best, best_value = candidate, value
          progress.update()
    return best

  @property
  def options(self) -> dict[str, int | float]:
    """The keyword arguments of `build` that give this one."""
    return dict(
      neighbours=self.neighbours,
      window=self.window,
      decay=self.decay,
      shrinkage=self.shrinkage,
    )

  def scores(self, requests: Requests) -> Float[np.ndarray, "B V1"]:
    """The score of every item; 0 where no neighbour is in the window."""
    recent = [r["item"][-self.window :][::-1] for r in requests.history]
    lengths = [len(items) for items in recent]
    weight_W = self.decay ** np.arange(max(lengths, default=0))
    query = sparse.csr_array(
      (
        np.concatenate([weight_W[:n] for n in lengths] or [weight_W]),
        np.concatenate(recent or [np.zeros(0, np.int32)]),
        np.concatenate([[0], np.cumsum(lengths)]),
      ),
      shape=(len(recent), self.similarity.shape[0]),
    )
    return (query @ self.similarity).toarray()

  def search(
    self,
    query: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Returns ids and scores of the k best allowed items per request, and {}.

    Places beyond the number of allowed items hold id 0 and score -inf.
    """
    dense = None if allowed is None else allowed.dense()
    return *top_k(self.scores(query), k, dense), {}

  def ndcg(
    self, batches: Sequence[Requests], k: int, *, filter_history: bool
  ) -> float:
    """NDCG@k of known targets, as evaluate() has it, without lists."""
    ranks = []
    for requests in batches:
      # Ties are told in float32, as `search` returns the scores.
      score_BV = self.scores(requests).astype(np.float32)
      score_BV[:, 0] = -np.inf
      if filter_history:
        for score_V, record in zip(score_BV, requests.history, strict=True):
          score_V[record["item"]] = -np.inf
      target_B1 = np.take_along_axis(score_BV, requests.target[:, None], axis=1)
      rank_B = np.sum(score_BV >= target_B1, axis=1)
      ranks.append(np.where(target_B1[:, 0] == -np.inf, MISS, rank_B))
    values = per_request(np.concatenate(ranks).astype(np.int32), (k,))
    return float(values[f"ndcg@{k}"].mean())


def _user_items(histories: CountedData) -> sparse.csr_array:
  """(U, V + 1) table of 0 and 1: which items a user's training part has."""
  items = []
  for user in tqdm(range(len(histories)), desc="read training parts", delay=2):
    record = histories[user]
    items.append(np.unique(record["item"][: histories.split.train_end(record)]))
  lengths = np.array([len(part) for part in items])
  return sparse.csr_array(
    (
      np.ones(lengths.sum()),
      np.concatenate(items),
      np.concatenate([[0], np.cumsum(lengths)]),
    ),
    shape=(len(items), histories.manifest.num_items + 1),
  )


def _similarity(
  taken: sparse.csr_array, neighbours: int, shrinkage: float
) -> sparse.csr_array:
  """The `neighbours` most similar items of each, in rows sorted best first."""
  by_item = taken.T.tocsr()
  count_V = np.diff(by_item.indptr).astype(np.float64)
  num_rows = len(count_V)
  block = max(1, _BLOCK_ENTRIES // num_rows)
  columns, values, lengths = [], [], []
  for start in tqdm(
    range(0, num_rows, block), desc="item similarities", delay=2
  ):
    both = (by_item[start : start + block] @ taken).tocsr()
    both.sort_indices()
    for row in range(both.shape[0]):
      item = start + row
      place = slice(both.indptr[row], both.indptr[row + 1])
      column_N = both.indices[place]
      value_N = both.data[place] / (
        np.sqrt(count_V[item] * count_V[column_N]) + shrinkage
      )
      value_N[column_N == item] = 0.0
      order_K = np.argsort(-value_N, kind="stable")[:neighbours]
      order_K = order_K[value_N[order_K] > 0]
      columns.append(column_N[order_K])
      values.append(value_N[order_K])
      lengths.append(len(order_K))
  return sparse.csr_array(
    (
      np.concatenate(values),
      np.concatenate(columns),
      np.concatenate([[0], np.cumsum(lengths)]),
    ),
    shape=(num_rows, num_rows),
  )


def _first_neighbours(
  similarity: sparse.csr_array, neighbours: int
) -> sparse.csr_array:
  """Keeps the first entries of each row, which are the most similar."""
  lengths = np.diff(similarity.indptr)
  place = np.arange(similarity.nnz) - np.repeat(similarity.indptr[:-1], lengths)
  keep = place < neighbours
  kept = np.minimum(lengths, neighbours)
  return sparse.csr_array(
    (
      similarity.data[keep],
      similarity.indices[keep],
      np.concatenate([[0], np.cumsum(kept)]),
    ),
    shape=similarity.shape,
  )
