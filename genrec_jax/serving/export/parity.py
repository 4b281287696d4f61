# SPDX-License-Identifier: Apache-2.0
"""Whether two answers are equal, to rounding.

    logits   |a - b| <= t max(1, |b|)
    lists    the scores of every place likewise; an item that only one of the
             lists has ties with the last place

t is what a platform's rounding costs. On a CPU all products are float32, and
programs differ from the run in the order of their sums alone. Layers on an
accelerator multiply by its default (ops/precision.py), which is far coarser;
those bounds are of the mantissa's bits, and nobody measured them.
"""

from collections.abc import Mapping

from jaxtyping import Float, Int
import numpy as np

TOLERANCE = {"cpu": 1e-5, "cuda": 2e-2, "tpu": 5e-2}


def difference(
  ours: Float[np.ndarray, "..."], theirs: Float[np.ndarray, "..."]
) -> float:
  """The largest |a - b| / max(1, |b|); inf where only one is a number.

  Equal infinities, such as scores of empty places, do not differ.
  """
  if ours.shape != theirs.shape:
    return float("inf")
  differs = ours != theirs
  a, b = (x[differs].astype(np.float64) for x in (ours, theirs))
  with np.errstate(invalid="ignore"):
    apart = np.abs(a - b) / np.maximum(1.0, np.abs(b))
  # Infinity less infinity, and whatever is no number.
  return float(np.where(np.isfinite(apart), apart, np.inf).max(initial=0.0))


def lists_differ(
  ours: Mapping[str, np.ndarray],
  theirs: Mapping[str, np.ndarray],
  tolerance: float,
) -> str:
  """What is wrong with lists of ids_BK and scores_BK; "" for nothing."""
  apart = difference(ours["scores_BK"], theirs["scores_BK"])
  if not apart <= tolerance:
    return f"scores differ by {apart:.3g}, and {tolerance:.3g} is rounding"
  for row in range(len(theirs["ids_BK"])):
    a, b = (
      _by_item(x["ids_BK"][row], x["scores_BK"][row]) for x in (ours, theirs)
    )
    for item in sorted({*a, *b}):
      # One that fell off the end was as good as the last that did not.
      other = min(b.values(), default=-np.inf)
      one = np.array([a.get(item, other), b.get(item, other)])
      if not difference(one[:1], one[1:]) <= tolerance:
        return (
          f"item {item} of request {row} has a score of"
          f" {a.get(item, 'none')}, and {b.get(item, 'none')} was"
          " the run's"
        )
  return ""


def _by_item(
  ids_K: Int[np.ndarray, "K"], scores_K: Float[np.ndarray, "K"]
) -> dict[int, float]:
  return {
    int(i): float(s) for i, s in zip(ids_K, scores_K, strict=True) if i > 0
  }
