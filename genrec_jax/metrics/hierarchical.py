# SPDX-License-Identifier: Apache-2.0
"""Bootstrap of a difference of two sides, each of several seeds: two levels.

    outer   seeds, weights 1 / S + sqrt(v / q) e  (e: metrics/seeds.py
            `seed_deviations`; q ~ chi square(v), v as in the t interval)
    inner   users, w ~ multinomial(U, 1/U), the same for all seeds and sides

    difference* = sum_s weight_s ours_s(w) - sum_s weight'_s theirs_s(w)

with the same e for both sides where seeds are paired. All seeds meet the same
users, so the levels are crossed and both are drawn anew each time (Owen 2007,
the pigeonhole bootstrap). Without spread between users the interval is the t
interval over seeds, without spread between seeds the bootstrap over users.
Beside it stands the interval over users alone, of the seeds as they are. Needs
two seeds a side; of one, only users can be drawn.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

from jaxtyping import Float, Shaped
import numpy as np

from genrec_jax.metrics.bootstrap import RESAMPLES, Interval, drawn_users
from genrec_jax.metrics.seeds import LEVEL, seed_deviations, spread

# {metric: values of B draws and any number of seeds} of a side.
Side = Mapping[str, Float[np.ndarray, "B _"]]


@dataclasses.dataclass(frozen=True)
class Difference:
  """One metric of two sides.

  Attributes:
    ours, theirs: value of every seed on all users.
    users: the difference of the means over seeds; other users, these seeds.
    both: the same with other users and other seeds; None of one seed a side.
  """

  ours: tuple[float, ...]
  theirs: tuple[float, ...]
  users: Interval
  both: Interval | None


def of_means(
  ours: Sequence[Mapping[str, Float[np.ndarray, "R"]]],
  theirs: Sequence[Mapping[str, Float[np.ndarray, "R"]]],
  users: Shaped[np.ndarray, "R"],
  *,
  same_seeds: bool,
  resamples: int = RESAMPLES,
  level: float = LEVEL,
  seed: int = 0,
) -> dict[str, Difference]:
  """Of metrics that are means over requests, such as HR@k.

  Args:
    ours, theirs: of every seed, values by metric (metrics/ranking.py
      per_request), of the same requests.
    users: whose request each is.
    same_seeds: whether seed i of one side is seed i of the other.
    resamples, level, seed: as in metrics/bootstrap.py.
  """
  if not len(users):
    raise ValueError("a bootstrap needs at least one request, got none")
  place_R = np.unique(users, return_inverse=True)[1]
  count_U = np.bincount(place_R).astype(np.float64)

  def sums(side, name) -> Float[np.ndarray, "U S"]:
    each = [np.bincount(place_R, weights=values[name]) for values in side]
    return np.stack(each, axis=1)

  names = list(ours[0])
  sides = [{n: sums(side, n) for n in names} for side in (ours, theirs)]

  def values(weights_BU) -> tuple[Side, Side]:
    total_B = (weights_BU @ count_U)[:, None]
    a, b = (
      {n: weights_BU @ side[n] / total_B for n in names} for side in sides
    )
    return a, b

  return differences(
    values,
    len(count_U),
    same_seeds=same_seeds,
    resamples=resamples,
    level=level,
    seed=seed,
  )


def differences(
  values: Callable[[Float[np.ndarray, "B U"]], tuple[Side, Side]],
  num_users: int,
  *,
  same_seeds: bool,
  resamples: int = RESAMPLES,
  level: float = LEVEL,
  seed: int = 0,
) -> dict[str, Difference]:
  """Differences of every metric of `values`.

  A draw in which a metric is not defined is left out; a metric that is
  undefined itself, or in more than half of the draws, has no entry.

  Args:
    values: weights of the users -> metrics of both sides' seeds.
    num_users: U.
    same_seeds, resamples, level, seed: see of_means.
  """
  if not 0 < level < 1:
    raise ValueError(f"level={level} must be between 0 and 1, such as 0.95")
  a, b = values(np.ones((1, num_users)))
  counts = [next(iter(side.values())).shape[1] for side in (a, b)]
  if same_seeds and counts[0] != counts[1]:
    raise ValueError(
      f"{counts[0]} and {counts[1]} seeds cannot be paired: give the same seeds"
      " of both sides, or same_seeds=False"
    )
  some_seeds = min(counts) > 1
  # Labels decide whether there is such a metric at all.
  names = [n for n in a if np.isfinite([*a[n][0], *b[n][0]]).all()]
  free = {
    n: spread(a[n][0], b[n][0], paired=same_seeds)[1]
    for n in names
    if some_seeds
  }
  # A generator of their own: users are drawn as without seeds.
  rng = np.random.default_rng((seed, 1))
  by_users: dict[str, list[np.ndarray]] = {name: [] for name in names}
  by_both: dict[str, list[np.ndarray]] = {name: [] for name in names}
  for weights_BU in drawn_users(num_users, resamples, seed):
    drawn = values(weights_BU)
    e = [seed_deviations(rng, len(weights_BU), n) for n in counts if some_seeds]
    for name in names:
      ours_BS, theirs_BS = (side[name] for side in drawn)
      difference_B = ours_BS.mean(axis=1) - theirs_BS.mean(axis=1)
      by_users[name].append(difference_B)
      if some_seeds:
        e_theirs = e[0] if same_seeds else e[1]
        apart_B = (e[0] * ours_BS).sum(axis=1)
        apart_B -= (e_theirs * theirs_BS).sum(axis=1)
        q_B = rng.chisquare(free[name], len(apart_B))
        scale_B = np.sqrt(free[name] / q_B)
        by_both[name].append(difference_B + scale_B * apart_B)
  found = {}
  for name in names:
    ours, theirs = a[name][0], b[name][0]
    mean = float(ours.mean() - theirs.mean())
    users, both = (
      _interval(mean, by[name], num_users, level) for by in (by_users, by_both)
    )
    if users is not None:
      each = [tuple(float(x) for x in side) for side in (ours, theirs)]
      found[name] = Difference(*each, users, both)
  return found


def _interval(
  mean: float, draws: Sequence[np.ndarray], num_users: int, level: float
) -> Interval | None:
  if not draws:
    return None
  every = np.concatenate(draws)
  some = every[np.isfinite(every)]
  if 2 * len(some) < len(every):
    return None
  low, high = np.quantile(some, [(1 - level) / 2, (1 + level) / 2])
  return Interval(mean, float(low), float(high), num_users)
