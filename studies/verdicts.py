# SPDX-License-Identifier: Apache-2.0
"""What seeds say of a claim, and of several claims together."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
import numpy as np

from genrec_jax.metrics import seeds
from genrec_jax.metrics.holm import holm

NOT_SUPPORTED = "not supported"
Result = dict[str, Any]


def over_seeds(
  verdict: str, above_zero: Sequence[Sequence[float]], **figures: Any
) -> Result:
  """Of a claim about trained models.

  Args:
    verdict: what is said where it is supported.
    above_zero: values of every seed that the claim says are above 0 on average,
      all of them; so the least sure one decides.
    figures: for the reader.
  """
  found = [difference(values, np.zeros(len(values))) for values in above_zero]
  if any(i is None for i in found):
    said = {"verdict": "none: one seed"}
  else:
    sure = all(i.low > 0 for i in found)
    p_value = max(i.p_value if i.mean > 0 else 1.0 for i in found)
    said = {
      "verdict": verdict if sure else NOT_SUPPORTED,
      "rests_on": f"t intervals over {len(above_zero[0])} seeds",
      "p_value": float(f"{p_value:.2g}"),
    }
  return {**said, **figures}


def compared(
  metrics: Mapping[str, Mapping[int, Mapping[str, float]]],
  better: str,
  worse: str,
  metric: str,
  other: str | None = None,
) -> Result:
  """`better` minus `worse`, paired by the seeds that both have.

  Args:
    metrics: {role: {seed: {metric: value}}}.
    better: the role that is claimed to be above.
    worse: the other one.
    metric: of the better one.
    other: of the worse one, where it is another metric.
  """
  other = other or metric
  missing = [role for role in (better, worse) if not metrics.get(role)]
  if missing:
    return {"verdict": f"not run: no run is given as {' or '.join(missing)}"}
  seeds = sorted(metrics[better].keys() & metrics[worse].keys())
  if not seeds:
    return {"verdict": f"not run: {better} and {worse} have no seed in common"}
  sides = {better: metric, worse: other}
  if better == worse:
    sides = {f"{better} {metric}": metric, f"{worse} {other}": other}
  asked = ((better, metric), (worse, other))
  lacking = [
    f"{role} {name}"
    for role, name in asked
    if any(name not in metrics[role][seed] for seed in seeds)
  ]
  if lacking:
    return {"verdict": f"not run: not measured: {', '.join(lacking)}"}
  above, below = (
    np.array([metrics[role][seed][name] for seed in seeds])
    for role, name in asked
  )
  change = float(below.mean() / above.mean() - 1) if above.mean() else None
  return over_seeds(
    "holds",
    [list(above - below)],
    metric=metric,
    seeds=len(seeds),
    figures={
      side: round(float(values.mean()), 4)
      for side, values in zip(sides, (above, below), strict=True)
    },
    change=None if change is None else round(change, 3),
  )


def of_seeds(
  metrics: Mapping[str, Mapping[int, Mapping[str, float]]],
  roles: Sequence[str],
  metric: str,
) -> Float[np.ndarray, "R S"] | str:
  """Values by role and seed, of seeds that all have; or why there are none.

  Args:
    metrics: {role: {seed: {metric: value}}}.
    roles: R of them.
    metric: of each.
  """
  missing = [role for role in roles if not metrics.get(role)]
  if missing:
    return f"not run: no run is given as {' or '.join(missing)}"
  seeds = sorted(set.intersection(*(set(metrics[role]) for role in roles)))
  if not seeds:
    return f"not run: {', '.join(roles)} have no seed in common"
  for role in roles:
    if any(metric not in metrics[role][seed] for seed in seeds):
      return f"not run: not measured: {role} {metric}"
  return np.array([[metrics[r][s][metric] for s in seeds] for r in roles])


def means(found_RS: Float[np.ndarray, "R S"]) -> list[float]:
  """Of each role, over seeds, rounded."""
  return [round(float(x), 4) for x in found_RS.mean(axis=1)]


def correct(found: dict[str, Result]) -> None:
  """Holm's correction of the claims that rest on seeds, in place."""
  p_values = {k: r["p_value"] for k, r in found.items() if "p_value" in r}
  for name, p_value in holm(p_values).items():
    found[name]["p_holm"] = p_value
    if p_value >= 1 - seeds.LEVEL and found[name]["verdict"] != NOT_SUPPORTED:
      found[name]["verdict"] = f"{NOT_SUPPORTED} after Holm"


def difference(
  after: Sequence[float], before: Sequence[float]
) -> seeds.SeedInterval | None:
  """Paired by seed: the same parameters and data at the start."""
  sides = (dict(enumerate(side)) for side in (after, before))
  return seeds.difference(*sides, paired=True)
