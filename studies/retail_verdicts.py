# SPDX-License-Identifier: Apache-2.0
"""What seeds say of ways to read times, on a shop's real seasons.

Differences are of NDCG@10 on test, histories among the candidates, paired by
seed; studies/retail_seasons.py is the command. What has no result is said to be
not run, and no verdict rests on it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from genrec_jax.report.cells import cell, line
from genrec_jax.report.runs import BASELINE_LABELS, Summary
from studies.retail_arms import ARMS, Arm
from studies.verdicts import Result, compared, correct

METRIC = "ndcg@10"
_SHOWN = ("hr@10", "ndcg@10")
_PARTS = ("test", "test_filtered")
# Claim -> (better arm, worse arm).
ORDERS = {
  "5 a time bias helps": ("bias", "no_time"),
  "5 a calendar helps": ("calendar", "no_time"),
  "8 a bias alone lacks the season": ("calendar", "bias"),
  "27a a calendar adds to a bias": ("bias-calendar", "bias"),
}
# {arm: its result, None = not run}
Found = Mapping[Arm, Mapping[str, Any] | None]


def metrics_of(document: Mapping[str, Any]) -> dict[str, dict[str, float]]:
  """Metrics of a result by part."""
  return document["sections"]["next_item"]["metrics"]


def claims(found: Found) -> dict[str, Result]:
  """All claims at every test, corrected together."""
  result = {}
  for test in dict.fromkeys(arm.test for arm in found):
    by_arm = {
      name: {
        arm.seed: metrics_of(one)["test"]
        for arm, one in found.items()
        if one is not None and (arm.test, arm.arm) == (test, name)
      }
      for name in ARMS
    }
    for claim, (better, worse) in ORDERS.items():
      row = compared(by_arm, better, worse, METRIC)
      result[f"{claim}, {test}"] = row
  correct(result)
  return result


def table(found: Found) -> str:
  """Markdown: baselines and arms by test, and which seeds are not run."""
  names = [f"{m.upper()}{_said(p)}" for p in _PARTS for m in _SHOWN]
  lines = [line(["asked for", "", *names, "seeds"]), line(["---"] * 7)]
  for test in dict.fromkeys(arm.test for arm in found):
    lines += _baselines(found, test)
    for name in ARMS:
      mine = {a.seed: x for a, x in found.items() if _is(a, test, name)}
      there = [x for x in mine.values() if x is not None]
      cells = [_cell([metrics_of(x) for x in there], *c) for c in _columns()]
      lines.append(line([test, name, *cells, _seeds(mine)]))
  return "\n".join(lines)


def _said(part: str) -> str:
  return "" if part == "test" else ", history hidden"


def _is(arm: Arm, test: str, name: str) -> bool:
  return (arm.test, arm.arm) == (test, name)


def _columns() -> list[tuple[str, str]]:
  return [(part, metric) for part in _PARTS for metric in _SHOWN]


def _cell(
  parts: Sequence[Mapping[str, Mapping[str, float]]], part: str, metric: str
) -> str:
  values = [one[part][metric] for one in parts if part in one]
  return cell(Summary.of(values) if values else None)


def _seeds(found: Mapping[int, Any]) -> str:
  """Such as `0, 1; 2 not run`."""
  run = [str(seed) for seed, one in found.items() if one is not None]
  missing = [str(seed) for seed, one in found.items() if one is None]
  if not missing:
    return ", ".join(run)
  said = f"{', '.join(missing)} not run" if run else "not run"
  return "; ".join(filter(None, (", ".join(run), said)))


def _baselines(found: Found, test: str) -> list[str]:
  """Lines of what needs no training, of the first result that has them."""
  there = [x for a, x in found.items() if a.test == test and x is not None]
  if not there:
    return []
  lines = []
  for name, parts in there[0]["sections"]["next_item"]["baselines"].items():
    cells = [_cell([parts], *column) for column in _columns()]
    label = BASELINE_LABELS.get(name, name)
    lines.append(line([test, label, *cells, "baseline"]))
  return lines
