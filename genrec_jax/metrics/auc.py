# SPDX-License-Identifier: Apache-2.0
"""AUC and its mean over users, exact, by rank sums with ties.

    AUC   = P(s+ > s-) + P(s+ = s-) / 2      over pairs of a positive, negative
    GAUC  = sum_u n_u AUC_u / sum_u n_u      n_u: impressions of the user

Users whose impressions are of one class have no AUC: they are left out of GAUC,
and `gauc_share` of the impressions stands beside it wherever it is shown. A
metric that is not defined (no
positive, or no negative, anywhere) is None, never NaN. The state keeps the
scores, which no sum can stand for; `compute` sorts them once, O(n log n).
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from jaxtyping import Bool, Float, Int, Shaped
import numpy as np


def check_scores(
  scores: Float[np.ndarray, "R"], positive: Bool[np.ndarray, "R"]
) -> None:
  """Raises a ValueError for scores that are not finite, or too few."""
  if len(scores) != len(positive):
    raise ValueError(
      f"{len(scores)} scores and {len(positive)} labels; give one label each."
    )
  wrong = np.flatnonzero(~np.isfinite(scores))
  if wrong.size:
    raise ValueError(
      f"{wrong.size:,} of {len(scores):,} scores are not finite, the first is"
      f" {scores[wrong[0]]} in row {wrong[0]}: has the training diverged?"
    )


def area(
  scores: Float[np.ndarray, "R"], positive: Bool[np.ndarray, "R"]
) -> float | None:
  """AUC; None where there is no pair."""
  areas, _ = areas_by_user(scores, positive, np.zeros(len(scores), np.int64))
  return float(areas[0]) if len(areas) and np.isfinite(areas[0]) else None


def areas_by_user(
  scores: Float[np.ndarray, "R"],
  positive: Bool[np.ndarray, "R"],
  users: Shaped[np.ndarray, "R"],
) -> tuple[Float[np.ndarray, "U"], Int[np.ndarray, "U"]]:
  """AUC and impressions of every user, in the order of np.unique(users).

  The AUC of a user of one class is NaN here, for arithmetic on arrays.
  """
  if not len(scores):
    return np.zeros(0), np.zeros(0, np.int64)
  order = np.lexsort((scores, users))
  ordered, owner = scores[order], users[order]
  new_user = np.r_[True, owner[1:] != owner[:-1]]
  opens = new_user | np.r_[True, ordered[1:] != ordered[:-1]]
  # One entry for each run of equal scores of one user.
  run = np.cumsum(opens) - 1
  is_positive = positive[order]
  positives = np.bincount(run, weights=is_positive)
  negatives = np.bincount(run, weights=~is_positive)
  user = (np.cumsum(new_user) - 1)[opens]
  all_positives = np.bincount(user, weights=positives)
  all_negatives = np.bincount(user, weights=negatives)
  # Negatives of the user with a lower score: those so far, less earlier users'.
  earlier = np.cumsum(all_negatives) - all_negatives
  below = np.cumsum(negatives) - negatives - earlier[user]
  wins = np.bincount(user, weights=positives * (below + negatives / 2))
  pairs = all_positives * all_negatives
  areas = np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)
  return areas, np.bincount(np.cumsum(new_user) - 1)


@dataclasses.dataclass(frozen=True)
class AucMetrics:
  """Scores, labels and users of what has been seen, in chunks."""

  chunks: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...] = ()

  @classmethod
  def empty(cls) -> AucMetrics:
    return cls()

  @classmethod
  def from_batch(
    cls,
    scores: Float[np.ndarray, "*R"],
    positive: Bool[np.ndarray, "*R"],
    users: Shaped[np.ndarray, "*R"],
    *,
    where: Bool[np.ndarray, "*R"] | None = None,
  ) -> AucMetrics:
    """Keeps a batch of any shape; `where` drops impressions.

    Raises:
      ValueError: a score that is not finite.
    """
    keep = np.ones(scores.shape, bool) if where is None else where
    chunk = (scores[keep].astype(np.float64), positive[keep], users[keep])
    check_scores(chunk[0], chunk[1])
    return cls((chunk,))

  def merge(self, other: AucMetrics) -> AucMetrics:
    """The state of both."""
    return AucMetrics(self.chunks + other.chunks)

  def compute(self) -> dict[str, float | None]:
    """ "auc", "gauc", and the shares of users and impressions that gauc lacks.

    None where undefined.
    """
    if not self.chunks:
      return dict.fromkeys(
        ("auc", "gauc", "one_class_users", "one_class_impressions")
      )
    scores, positive, users = map(
      np.concatenate, zip(*self.chunks, strict=True)
    )
    areas, counts = areas_by_user(scores, positive, users)
    there = np.isfinite(areas)
    return {
      "auc": area(scores, positive),
      "gauc": weighted_area(areas, counts),
      "one_class_users": float(1 - there.mean()) if len(areas) else None,
      "one_class_impressions": float(1 - counts[there].sum() / counts.sum())
      if len(areas)
      else None,
    }


def weighted_area(
  areas: Float[np.ndarray, "U"], counts: Int[np.ndarray, "U"]
) -> float | None:
  """GAUC of users' own; None where no user has one."""
  there = np.isfinite(areas)
  if not there.any():
    return None
  return float(np.average(areas[there], weights=counts[there]))


def gauc_share(metrics: Mapping[str, float | None]) -> float:
  """The share of the impressions that the GAUC of a `compute` is of."""
  without = metrics["one_class_impressions"]
  return 0.0 if without is None else 1 - without
