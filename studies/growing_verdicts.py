# SPDX-License-Identifier: Apache-2.0
"""What seeds say of growing catalogues, of arms that have been measured.

A slope is that of log excess error on log period, by least squares, over the
later three quarters of the periods; the end is the mean excess of the last
quarter. Differences are paired by seed: arms of a seed have the same stream.
studies/growing_catalog.py is the command, and says what the claims are.
"""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any

import numpy as np

from genrec_jax.data.simulator.growing_catalog import GrowingCatalog
from genrec_jax.metrics import seeds
from genrec_jax.report.cells import line
from studies.estimation_error import expected, slope
from studies.growing_arms import WIDTH, WIDTHS, Arm, Measured
from studies.verdicts import Result, correct, over_seeds

Found = Mapping[Arm, Measured]
# Of the toy: nothing is trained.
_NOISE, _PRIOR = 1.0, 1.0
_FLAT, _FALLS = 0.1, -0.8


def slope_of(one: Measured) -> float:
  """Of the excess over the later three quarters of the periods."""
  excess = one["excess"]
  return slope(np.array(excess), first=len(excess) // 4)


def end_of(one: Measured, name: str = "excess") -> float:
  """Mean excess of the last quarter; NaN where nothing was met."""
  excess = one[name]
  kept = [x for x in excess[-(-3 * len(excess) // 4) :] if x is not None]
  return float(np.mean(kept)) if kept else math.nan


def by_seed(
  found: Found,
  world: str,
  arm: str,
  of: Callable[[Measured], float],
  width: int = WIDTH,
) -> dict[int, float]:
  """A figure of an arm, {seed: value}.

  Raises:
    ValueError: the arm was not run.
  """
  values = {
    a.seed: of(one)
    for a, one in found.items()
    if (a.world, a.arm, a.width) == (world, arm, width)
  }
  if not values:
    raise ValueError(f"{world}-{arm}-{width} was not run.")
  return values


def minus(
  ours: Mapping[int, float], theirs: Mapping[int, float]
) -> list[float]:
  """Ours less theirs, by seed.

  Raises:
    ValueError: one has other seeds than the other.
  """
  if ours.keys() != theirs.keys():
    raise ValueError(
      f"seeds {sorted(ours)} and {sorted(theirs)} are not paired."
    )
  return [ours[seed] - theirs[seed] for seed in sorted(ours)]


def claims(found: Found) -> dict[str, Result]:
  """1 to 7, those that rest on trainings corrected together."""

  def slopes(world, arm):
    return by_seed(found, world, arm, slope_of)

  def ends(arm, width=WIDTH, *, name="excess", world="births"):
    return by_seed(found, world, arm, lambda one: end_of(one, name), width)

  low, high = min(WIDTHS), max(WIDTHS)
  result = {
    "1": _claim(
      "holds",
      {
        "slope, icr - ucr": minus(
          slopes("births", "icr"), slopes("births", "ucr")
        )
      },
    ),
    "3 icr": _claim(
      "holds",
      {f"end, {high} - {low}": minus(ends("icr", high), ends("icr", low))},
    ),
    "3 ucr": _claim(
      "holds",
      {f"end, {low} - {high}": minus(ends("ucr", low), ends("ucr", high))},
    ),
    "4": _claim(
      "holds",
      {
        "slope of icr, births - fixed": minus(
          slopes("births", "icr"), slopes("fixed", "icr")
        ),
        "end of icr, births - fixed": minus(
          ends("icr"), ends("icr", world="fixed")
        ),
      },
    ),
    "5": _claim(
      "holds",
      {
        "slope of ucr, user_births - births": minus(
          slopes("user_births", "ucr"), slopes("births", "ucr")
        ),
        "end of ucr, user_births - births": minus(
          ends("ucr", world="user_births"), ends("ucr")
        ),
      },
    ),
    "6": _claim(
      "holds",
      {
        "slope, icr - content": minus(
          slopes("births", "icr"), slopes("births", "content")
        ),
        "end, icr - content": minus(ends("icr"), ends("content")),
      },
    ),
    "7": _claim(
      "holds",
      {"end, icr - icr with counts": minus(ends("icr"), ends("icr-counts"))},
    ),
    "new items": _claim(
      "holds",
      {
        "end on items not met, icr - ucr": minus(
          ends("icr", name="excess_new_items"),
          ends("ucr", name="excess_new_items"),
        )
      },
    ),
  }
  correct(result)
  return {"1 toy": toy(), "2": growth(found), **result}


def toy(days: int = 60) -> Result:
  """The same stream without a network: means of Gaussians, in expectation."""
  world = GrowingCatalog(days=days)
  stream, rows = world.draw(), world.births_per_day * world.visits
  options = {"width": 1, "noise": _NOISE, "prior": _PRIOR}
  items, users = (
    slope(expected(token_E, rows, **options), first=days // 4)
    for token_E in (stream.item_E, stream.user_E)
  )
  holds = abs(items) < _FLAT and users < _FALLS
  return {
    "verdict": "holds" if holds else "fails",
    "rests_on": "arithmetic",
    "slope of items": round(items, 3),
    "slope of users": round(users, 3),
  }


def growth(found: Found) -> Result:
  """Tokens that were met, which is what a table needs rows for."""
  one = next(one for a, one in found.items() if a.world == "births")
  items, users = one["items_met"], one["users_met"]
  half = items[len(items) // 2 - 1]
  return {
    "verdict": "holds" if abs(items[-1] / half / 2 - 1) < _FLAT else "fails",
    "rests_on": "arithmetic: births are what they were set to",
    "items met at half and end": [half, items[-1]],
    "users met at half and end": [users[len(users) // 2 - 1], users[-1]],
    "items / users at the end": round(items[-1] / users[-1], 2),
  }


def _claim(verdict: str, needed: Mapping[str, Sequence[float]]) -> Result:
  """Of differences that are all to be above 0."""
  said = {}
  for name, values in needed.items():
    said[name] = [round(float(np.mean(values)), 5)]
    interval = seeds.over_seeds(values)
    said[name] += [] if interval is None else [round(x, 5) for x in interval]
  return over_seeds(verdict, [*needed.values()], **said)


def figures(found: Found) -> list[dict[str, Any]]:
  """One row a training: what it measured of every period."""
  return [
    {
      **{k: one["config"][k] for k in ("world", "arm", "width", "seed")},
      "slope": round(slope_of(one), 4),
      **{
        name: [None if x is None else round(x, 6) for x in one[name]]
        for name in one
        if name not in ("config", "seconds")
      },
      "seconds": one["seconds"],
    }
    for one in found.values()
  ]


def table(found: Found) -> str:
  """Markdown: slope and last quarter of every arm, means over seeds."""
  lines = [
    line(["world", "arm", "D", "slope", "excess", "items not met", "met"]),
    line(["---"] * 7),
  ]
  kinds = dict.fromkeys((a.world, a.arm, a.width) for a in found)
  for kind in kinds:
    mine = [
      one for a, one in found.items() if (a.world, a.arm, a.width) == kind
    ]
    slopes = [slope_of(one) for one in mine]
    cells = [f"{np.mean(slopes):+.3f}"]
    for name in ("excess", "excess_new_items", "excess_old_items"):
      mean = np.mean([end_of(one, name) for one in mine])
      cells.append("-" if math.isnan(mean) else f"{mean:.4f}")
    lines.append(line([*map(str, kind), *cells]))
  return "\n".join(lines)
