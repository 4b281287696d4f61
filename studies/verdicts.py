# SPDX-License-Identifier: Apache-2.0
"""What seeds say of a claim, and of several claims together."""

from collections.abc import Sequence
from typing import Any

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
