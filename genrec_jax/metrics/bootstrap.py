# SPDX-License-Identifier: Apache-2.0
"""Percentile bootstrap intervals of a mean over requests, resampling USERS.

Requests of one user are not independent, so users are drawn with replacement
and bring all their requests (Efron and Tibshirani 1993, chapter 13; clusters):

    mean* = sum_u w_u S_u / sum_u w_u n_u        w ~ multinomial(U, 1/U)

with S_u the sum of the user's values and n_u their number. `paired` draws the
same users for both rankers and gives the interval of the difference of means.

Users with equal (S_u, n_u) are one class, drawn by its size: the same law, and
a metric of one request per user has at most max(K) + 1 classes, so 2000 draws
take milliseconds for any number of users. Everything is float64 and seeded.
"""

from collections.abc import Iterator, Mapping
import dataclasses

from jaxtyping import Float, Int, Shaped
import numpy as np

RESAMPLES = 2_000
_BLOCK = 1 << 22  # Weights held at a time: 32 MiB.


@dataclasses.dataclass(frozen=True)
class Interval:
  """A mean and the percentile interval [low, high] around it."""

  mean: float
  low: float
  high: float
  num_users: int


def excludes_zero(low: float, high: float) -> bool:
  """Whether an interval of a difference leaves out "no difference"."""
  return low > 0 or high < 0


def intervals(
  values: Mapping[str, Float[np.ndarray, "R"]],
  users: Shaped[np.ndarray, "R"],
  *,
  resamples: int = RESAMPLES,
  level: float = 0.95,
  seed: int = 0,
) -> dict[str, Interval]:
  """Returns the interval of each named metric's mean.

  Args:
    values: per-request values by name (metrics/ranking.py per_request).
    users: whose request each is; equal entries are one user.
    resamples: number of draws of all users.
    level: probability that the interval is made to cover.
    seed: of NumPy's default generator.
  """
  return {
    name: interval(value, users, resamples=resamples, level=level, seed=seed)
    for name, value in values.items()
  }


def interval(
  values: Float[np.ndarray, "R"],
  users: Shaped[np.ndarray, "R"],
  *,
  resamples: int = RESAMPLES,
  level: float = 0.95,
  seed: int = 0,
) -> Interval:
  """Returns the mean of `values` and its interval; see `intervals`."""
  if len(values) == 0:
    raise ValueError("a bootstrap needs at least one request, got none")
  if not np.isfinite(values).all():
    place = int(np.flatnonzero(~np.isfinite(values))[0])
    raise ValueError(f"value {values[place]} of request {place} is not finite")
  if not 0 < level < 1:
    raise ValueError(f"level={level} must be between 0 and 1, such as 0.95")
  user_sum, user_count = _per_user(values, users)
  means = _resampled_means(user_sum, user_count, resamples, seed)
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return Interval(
    float(values.mean()), float(low), float(high), len(user_count)
  )


def paired(
  values_a: Float[np.ndarray, "R"],
  values_b: Float[np.ndarray, "R"],
  users: Shaped[np.ndarray, "R"],
  *,
  resamples: int = RESAMPLES,
  level: float = 0.95,
  seed: int = 0,
) -> Interval:
  """Returns mean(a) - mean(b) and its interval over the same requests."""
  return interval(
    values_a - values_b, users, resamples=resamples, level=level, seed=seed
  )


def drawn_users(
  num_users: int, resamples: int, seed: int = 0
) -> Iterator[Float[np.ndarray, "B U"]]:
  """How often each user is drawn, in blocks of `resamples` draws in all.

  As many draws as users, each of any user: counts of a multinomial.
  """
  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK // num_users)
  for start in range(0, resamples, block):
    count = min(block, resamples - start)
    drawn = rng.integers(num_users, size=(count, num_users))
    drawn += np.arange(count)[:, None] * num_users
    weights = np.bincount(drawn.reshape(-1), minlength=count * num_users)
    yield weights.reshape(count, num_users).astype(np.float64)


def _per_user(
  values: Float[np.ndarray, "R"], users: Shaped[np.ndarray, "R"]
) -> tuple[Float[np.ndarray, "U"], Int[np.ndarray, "U"]]:
  """Sum and number of the values of every user."""
  _, place = np.unique(users, return_inverse=True)
  sums = np.bincount(place, weights=values.astype(np.float64))
  return sums, np.bincount(place)


def _resampled_means(
  user_sum: Float[np.ndarray, "U"],
  user_count: Int[np.ndarray, "U"],
  resamples: int,
  seed: int,
) -> Float[np.ndarray, "S"]:
  """Means of `resamples` draws of as many users as there are."""
  classes, size = np.unique(
    np.stack([user_sum, user_count], axis=1), axis=0, return_counts=True
  )
  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK // len(size))
  means = []
  for start in range(0, resamples, block):
    count = min(block, resamples - start)
    weights = rng.multinomial(size.sum(), size / size.sum(), size=count)
    totals = weights.astype(np.float64) @ classes
    means.append(totals[:, 0] / totals[:, 1])
  return np.concatenate(means)
