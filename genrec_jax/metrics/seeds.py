# SPDX-License-Identifier: Apache-2.0
"""What trained seeds say of a difference: Student's t over seeds.

    paired   mean(d) +- t(S - 1) s(d) / sqrt(S)         d_s = ours_s - theirs_s
    apart    mean(a) - mean(b) +- t(v) sqrt(s_a^2 / A + s_b^2 / B)

Seeds are paired where a seed is the same in both: equal numbers that draw the
same batches and first parameters. Trainings that share no more than a number
are independent, and pairing them would only lose degrees of freedom: apart, the
interval is Welch's (1947), with v by Welch and Satterthwaite. Users are the
same for all seeds: the interval is about other trainings, asked by these users.
One seed has no spread, so there is no interval of it.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

from jaxtyping import Float
import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class SeedInterval:
  """A difference of means over seeds, and its t interval [low, high].

  Attributes:
    p_value: two-sided, of no difference.
    ours, theirs: number of seeds of each side.
    paired: whether each seed was compared with itself.
  """

  mean: float
  low: float
  high: float
  p_value: float
  ours: int
  theirs: int
  paired: bool


def over_seeds(
  values: Sequence[float], level: float = LEVEL
) -> tuple[float, float] | None:
  """The t interval of a mean over seeds; None of fewer than two seeds."""
  values_S = np.asarray(values, np.float64)
  if len(values_S) < 2:
    return None
  low, high, _ = _t(
    values_S.mean(), _squared_error(values_S), float(len(values_S) - 1), level
  )
  return low, high


def difference(
  ours: Mapping[int, float],
  theirs: Mapping[int, float],
  *,
  paired: bool,
  level: float = LEVEL,
) -> SeedInterval | None:
  """Ours - theirs over seeds; None where a side has fewer than two.

  Args:
    ours, theirs: {seed: value of the metric}.
    paired: whether a seed is compared with itself.
    level: probability that the interval is made to cover.

  Raises:
    ValueError: other seeds are to be paired.
  """
  if paired and ours.keys() != theirs.keys():
    raise ValueError(
      f"seeds {sorted(ours)} and {sorted(theirs)} cannot be paired: give the"
      " same ones of both sides, or paired=False"
    )
  if min(len(ours), len(theirs)) < 2:
    return None
  a_S = np.array(list(ours.values()))
  b_S = np.array([theirs[seed] for seed in (ours if paired else theirs)])
  mean = a_S.mean() - b_S.mean()
  squared, free = spread(a_S, b_S, paired=paired)
  low, high, p_value = _t(mean, squared, free, level)
  return SeedInterval(
    float(mean), low, high, p_value, len(ours), len(theirs), paired
  )


def spread(
  ours_S: Float[np.ndarray, "A"],
  theirs_S: Float[np.ndarray, "B"],
  *,
  paired: bool,
) -> tuple[float, float]:
  """Squared standard error of a difference of means, and degrees of freedom.

  Args:
    ours_S, theirs_S: of every seed, at least two.
    paired: whether entry i of one is compared with entry i of the other.
  """
  if paired:
    return _squared_error(ours_S - theirs_S), float(len(ours_S) - 1)
  parts = _squared_error(ours_S), _squared_error(theirs_S)
  counts = len(ours_S) - 1, len(theirs_S) - 1
  below = sum(part**2 / n for part, n in zip(parts, counts, strict=True))
  # Without any spread, the least that Welch's can be.
  free = sum(parts) ** 2 / below if below else float(min(counts))
  return sum(parts), free


def seed_deviations(
  rng: np.random.Generator, draws: int, seeds: int
) -> Float[np.ndarray, "N S"]:
  """Random deviations of S seeds' weights from 1 / S; their sum is 0.

      e = (g - mean(g)) / sqrt(S (S - 1))          g standard normal

  so that sum(e m) is normal around 0 with the standard error of mean(m), for
  any m; times sqrt(v / q), q of chi square with v degrees of freedom, it is
  Student's. Seeds drawn with replacement are far too narrow instead: three have
  ten different draws, of (S - 1) / S of the variance.

  Args:
    rng: source of randomness.
    draws: N.
    seeds: S, at least 2.
  """
  g_NS = rng.normal(size=(draws, seeds))
  g_NS -= g_NS.mean(axis=1, keepdims=True)
  return g_NS / math.sqrt(seeds * (seeds - 1))


def _squared_error(values_S: Float[np.ndarray, "S"]) -> float:
  """Of the mean."""
  return float(values_S.var(ddof=1) / len(values_S))


def _t(
  mean: float, squared_error: float, free: float, level: float
) -> tuple[float, float, float]:
  """Ends of the interval, and the p-value of a mean of 0."""
  if not 0 < level < 1:
    raise ValueError(f"level={level} must be between 0 and 1, such as 0.95")
  # Here, for every command would wait a second for what few use.
  from scipy import stats

  error = math.sqrt(squared_error)
  half = float(stats.t.ppf((1 + level) / 2, free)) * error
  if error:
    p_value = float(2 * stats.t.sf(abs(mean) / error, free))
  else:
    p_value = float(mean == 0)
  return float(mean - half), float(mean + half), p_value
