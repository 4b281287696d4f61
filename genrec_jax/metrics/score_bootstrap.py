# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals of AUC, GAUC, NE and log loss, resampling USERS.

These are no means over impressions, so each draw weighs the users (how often
each was drawn, w ~ multinomial(U, 1/U)) and works the metric out again:

    AUC*   weighted sum over positives of the negatives below, sorted once
    GAUC*  sum_u w_u n_u AUC_u / sum_u w_u n_u
    NE*    log loss and base rate of sum_u w_u (...)

`paired` draws the same users for two rankers and gives the interval of the
difference a - b, `of_seeds` of the means over seeds, over users and over both
(metrics/hierarchical.py); GAUC then is over the same users for both, since
labels decide who has one. A draw in which a metric is not defined is left out;
a metric that is undefined itself, or in more than half of the draws, has no
entry.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

from jaxtyping import Bool, Float, Int, Shaped
import numpy as np

from genrec_jax.metrics.auc import areas_by_user, check_scores
from genrec_jax.metrics.bootstrap import RESAMPLES, Interval, drawn_users
from genrec_jax.metrics.hierarchical import Difference, Side, differences
from genrec_jax.metrics.pointwise import entropy, log_losses

NAMES = ("auc", "gauc", "ne", "log_loss")

Draws = Float[np.ndarray, "S"]


@dataclasses.dataclass(frozen=True)
class _Sorted:
  """One ranker's scores of one task, sorted once for all draws.

  Attributes:
    positive_user, negative_user: place among the users, of every positive and
      every negative impression, these by ascending score.
    below, upto: of every positive: how many negatives score less, and how many
      no more.
    area_U, count_U: AUC and impressions of users of both classes; others 0.
    loss_U, positives_U, total_U: sums of every user.
  """

  positive_user: Int[np.ndarray, "P"]
  negative_user: Int[np.ndarray, "N"]
  below: Int[np.ndarray, "P"]
  upto: Int[np.ndarray, "P"]
  area_U: Float[np.ndarray, "U"]
  count_U: Float[np.ndarray, "U"]
  loss_U: Float[np.ndarray, "U"]
  positives_U: Float[np.ndarray, "U"]
  total_U: Float[np.ndarray, "U"]

  @classmethod
  def of(cls, logits, positive, user) -> "_Sorted":
    check_scores(logits, positive)
    areas, counts = areas_by_user(logits, positive, user)
    there = np.isfinite(areas)
    order = np.argsort(logits[~positive], kind="stable")
    negative = logits[~positive][order]
    return cls(
      positive_user=user[positive],
      negative_user=user[~positive][order],
      below=np.searchsorted(negative, logits[positive], side="left"),
      upto=np.searchsorted(negative, logits[positive], side="right"),
      area_U=np.where(there, areas, 0.0),
      count_U=np.where(there, counts, 0).astype(np.float64),
      loss_U=np.bincount(user, weights=log_losses(logits, positive)),
      positives_U=np.bincount(user, weights=positive),
      total_U=counts.astype(np.float64),
    )

  def values(self, weights_SU: Float[np.ndarray, "S U"]) -> dict[str, Draws]:
    """The metrics of every draw; NaN where one is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
      total = weights_SU @ self.total_U
      loss = weights_SU @ self.loss_U / total
      nats = entropy(weights_SU @ self.positives_U / total)
      grouped = weights_SU @ (self.area_U * self.count_U)
      return {
        "auc": self._areas(weights_SU),
        "gauc": grouped / (weights_SU @ self.count_U),
        "ne": np.where(nats > 0, loss / nats, np.nan),
        "log_loss": loss,
      }

  def _areas(self, weights_SU) -> Draws:
    # One draw at a time: its weights stay in the cache.
    return np.array([self._area(weights_U) for weights_U in weights_SU])

  def _area(self, weights_U) -> float:
    so_far = np.zeros(len(self.negative_user) + 1)
    np.cumsum(weights_U[self.negative_user], out=so_far[1:])
    mine = weights_U[self.positive_user]
    # No BLAS: its threads wait for one another on a busy machine.
    wins = (mine * (so_far[self.below] + so_far[self.upto])).sum()
    pairs = mine.sum() * so_far[-1]
    return wins / (2 * pairs) if pairs else np.nan


def intervals(
  logits: Float[np.ndarray, "R"],
  positive: Bool[np.ndarray, "R"],
  users: Shaped[np.ndarray, "R"],
  *,
  resamples: int = RESAMPLES,
  level: float = 0.95,
  seed: int = 0,
) -> dict[str, Interval]:
  """Metrics of one task and their intervals, by name.

  Args:
    logits: of every impression.
    positive: whether the user did it.
    users: whose impression each is; equal entries are one user.
    resamples, level, seed: as in metrics/bootstrap.py.

  Raises:
    ValueError: no impressions, or a logit that is not finite.
  """
  user = _places(users)
  ranker = _Sorted.of(logits.astype(np.float64), positive, user)
  return _intervals(ranker.values, user, resamples, level, seed)


def paired(
  logits_a: Float[np.ndarray, "R"],
  logits_b: Float[np.ndarray, "R"],
  positive: Bool[np.ndarray, "R"],
  users: Shaped[np.ndarray, "R"],
  *,
  resamples: int = RESAMPLES,
  level: float = 0.95,
  seed: int = 0,
) -> dict[str, Interval]:
  """Differences a - b over the same impressions; arguments as intervals."""
  user = _places(users)
  a, b = (
    _Sorted.of(logits.astype(np.float64), positive, user)
    for logits in (logits_a, logits_b)
  )

  def difference(weights_SU) -> Mapping[str, Draws]:
    ours, theirs = a.values(weights_SU), b.values(weights_SU)
    return {name: ours[name] - theirs[name] for name in NAMES}

  return _intervals(difference, user, resamples, level, seed)


def of_seeds(
  ours: Sequence[Float[np.ndarray, "R"]],
  theirs: Sequence[Float[np.ndarray, "R"]],
  positive: Bool[np.ndarray, "R"],
  users: Shaped[np.ndarray, "R"],
  *,
  same_seeds: bool,
  resamples: int = RESAMPLES,
  level: float = 0.95,
  seed: int = 0,
) -> dict[str, Difference]:
  """Differences of the means over the seeds of each side, of two levels.

  Args:
    ours, theirs: logits of every seed, of the same impressions.
    positive, users: see intervals.
    same_seeds: whether seed i of one side is seed i of the other.
    resamples, level, seed: as in metrics/bootstrap.py.
  """
  user = _places(users)
  sides = [
    [_Sorted.of(x.astype(np.float64), positive, user) for x in side]
    for side in (ours, theirs)
  ]

  def side_values(side, weights_BU) -> Side:
    each = [one.values(weights_BU) for one in side]
    return {n: np.stack([v[n] for v in each], axis=1) for n in NAMES}

  def values(weights_BU) -> tuple[Side, Side]:
    a, b = (side_values(side, weights_BU) for side in sides)
    return a, b

  return differences(
    values,
    int(user.max()) + 1,
    same_seeds=same_seeds,
    resamples=resamples,
    level=level,
    seed=seed,
  )


def _places(users: Shaped[np.ndarray, "R"]) -> Int[np.ndarray, "R"]:
  if not len(users):
    raise ValueError("a bootstrap needs at least one impression, got none")
  return np.unique(users, return_inverse=True)[1]


def _intervals(
  values: Callable[[np.ndarray], Mapping[str, Draws]],
  user: Int[np.ndarray, "R"],
  resamples: int,
  level: float,
  seed: int,
) -> dict[str, Interval]:
  if not 0 < level < 1:
    raise ValueError(f"level={level} must be between 0 and 1, such as 0.95")
  num_users = int(user.max()) + 1
  whole = values(np.ones((1, num_users)))
  draws: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
  for weights in drawn_users(num_users, resamples, seed):
    found = values(weights)
    for name in NAMES:
      draws[name].append(found[name])
  result = {}
  for name in NAMES:
    every = np.concatenate(draws[name])
    some = every[np.isfinite(every)]
    value = float(whole[name][0])
    if np.isfinite(value) and 2 * len(some) >= len(every):
      low, high = np.quantile(some, [(1 - level) / 2, (1 + level) / 2])
      result[name] = Interval(value, float(low), float(high), num_users)
  return result
