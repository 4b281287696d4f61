# SPDX-License-Identifier: Apache-2.0
"""HR, NDCG and MRR at K of one relevant item per request, under full ranking.

With r the rank of the target among all candidate items (1 is best):

    HR@K   = mean 1[r <= K]              (= Recall@K: one item is relevant)
    NDCG@K = mean 1[r <= K] / log2(r + 1)
    MRR@K  = mean 1[r <= K] / r

Ties are PESSIMISTIC: r = #{items j: s_j >= s_target}, the last place of the run
of equal scores, so a constant scorer gets the worst rank and not the first. A
score of NaN or -inf counts as worst: it is a miss. Ranks come from a top-K list
(ids (B, K), scores (B, K)); whoever wants metrics at K fetches K + 1 places,
so that a run of ties which goes on beyond the list can be told from one that
ends in it. The state is (sum, count) in float64, merged over batches; the mean
is over requests, never a mean of batch means.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np

KS = (1, 5, 10, 50, 200)
MISS = int(np.iinfo(np.int32).max)
NAMES = ("hr", "ndcg", "mrr")


def rank_of_target(
  ids_BK: Int[np.ndarray, "B K"],
  scores_BK: Float[np.ndarray, "B K"],
  target_B: Int[np.ndarray, "B"],
) -> Int[np.ndarray, "B"]:
  """Returns the pessimistic rank of each target in its top-K list, or MISS.

  A target is a miss when it is absent, is 0 (unknown; 0 is also the fill of
  short lists), is scored NaN or -inf, or is in the run of equal scores at place
  K, which may go on outside the list. A list that holds every candidate
  therefore needs one more place, filled with id 0 and score -inf.
  """
  is_target_BK = (ids_BK == target_B[:, None]) & (target_B[:, None] > 0)
  place_B = np.argmax(is_target_BK, axis=1)
  score_B = np.take_along_axis(scores_BK, place_B[:, None], axis=1)[:, 0]
  found_B = is_target_BK.any(axis=1) & ~np.isnan(score_B)
  found_B &= score_B != -np.inf
  found_B &= scores_BK[:, -1] != score_B
  # A NaN among the other scores compares as false: it ranks below the target.
  rank_B = np.sum(scores_BK >= score_B[:, None], axis=1)
  return np.where(found_B, rank_B, MISS).astype(np.int32)


def per_request(
  rank_B: Int[np.ndarray, "B"], ks: Sequence[int] = KS
) -> dict[str, Float[np.ndarray, "B"]]:
  """Returns each request's own 'hr@K', 'ndcg@K', 'mrr@K', float64."""
  rank_B = rank_B.astype(np.float64)
  gains = (np.ones_like(rank_B), 1 / np.log2(rank_B + 1), 1 / rank_B)
  return {
    f"{name}@{k}": np.where(rank_B <= k, gain_B, 0.0)
    for name, gain_B in zip(NAMES, gains, strict=True)
    for k in ks
  }


def by_chance(num_candidates: int, ks: Sequence[int] = KS) -> dict[str, float]:
  """Returns the expectation of every metric over orders drawn at random.

  Args:
    num_candidates: how many are ordered, the target among them; at least 1.
    ks: cut-offs.
  """
  ranks = np.arange(1, num_candidates + 1)
  return {
    name: float(values.mean())
    for name, values in per_request(ranks, ks).items()
  }


@dataclasses.dataclass(frozen=True)
class RankingMetrics:
  """Sums over requests of every metric, and the sum of their weights."""

  sums: dict[str, float]
  count: float

  @classmethod
  def empty(cls, ks: Sequence[int] = KS) -> RankingMetrics:
    return cls({f"{name}@{k}": 0.0 for name in NAMES for k in ks}, 0.0)

  @classmethod
  def from_batch(
    cls,
    rank_B: Int[np.ndarray, "B"],
    ks: Sequence[int] = KS,
    *,
    where: Bool[np.ndarray, "B"] | None = None,
    weights: Float[np.ndarray, "B"] | None = None,
  ) -> RankingMetrics:
    """Sums a batch of ranks; `where` drops requests, `weights` weighs them."""
    weight_B = np.ones(rank_B.shape) if weights is None else weights
    weight_B = weight_B.astype(np.float64)
    if where is not None:
      weight_B = np.where(where, weight_B, 0.0)
    values = per_request(rank_B, ks)
    sums = {name: float(weight_B @ value_B) for name, value_B in values.items()}
    return cls(sums, float(weight_B.sum()))

  def merge(self, other: RankingMetrics) -> RankingMetrics:
    """Returns the state of both; ValueError when their metrics differ."""
    if self.sums.keys() != other.sums.keys():
      raise ValueError(
        f"cannot merge metrics {sorted(self.sums)} with {sorted(other.sums)}:"
        " build both states with the same ks"
      )
    sums = {name: value + other.sums[name] for name, value in self.sums.items()}
    return RankingMetrics(sums, self.count + other.count)

  def compute(self) -> dict[str, float]:
    """Returns the means; 0.0 everywhere when nothing was counted."""
    count = self.count or 1.0
    return {name: value / count for name, value in self.sums.items()}
