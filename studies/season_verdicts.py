# SPDX-License-Identifier: Apache-2.0
"""What seeds say of times and seasons, of arms that have been measured.

Differences are of HR@10 on test (sessions: NDCG@10), paired by seed: an arm and
another of the same seed have the same data. studies/seasons.py is the command,
and says what the claims are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from genrec_jax.metrics import seeds
from genrec_jax.ops.time_buckets import time_buckets
from genrec_jax.report.cells import line
from studies.season_arms import LOWER_SHARES, ORACLE, SHARE, SHUFFLED
from studies.verdicts import Result, correct, difference, over_seeds

METRIC = "hr@10"
# {(kind, share, arm): {seed: what studies/season_arms.py keeps}}
Found = dict[tuple[str, float, str], dict[int, Mapping[str, Any]]]
_SEASONAL = ("long", "gap")
# Seconds since an event: of the same session, and of others.
_NEAR, _FAR = (1, 1_800), (3_600, 864_000)


def values(
  found: Found, kind: str, share: float, arm: str, metric: str = METRIC
) -> list[float]:
  """A metric of an arm by seed."""
  by_seed = found[kind, share, arm]
  return [by_seed[seed]["metrics"][metric] for seed in sorted(by_seed)]


def minus(
  found: Found,
  kind: str,
  ours: str,
  theirs: str,
  share: float = SHARE,
  metric: str = METRIC,
) -> list[float]:
  """An arm less another, by seed.

  Raises:
    ValueError: one has other seeds than the other.
  """
  sides = found[kind, share, ours], found[kind, share, theirs]
  if sides[0].keys() != sides[1].keys():
    raise ValueError(f"{ours} and {theirs} of {kind} have other seeds.")
  pairs = (values(found, kind, share, arm, metric) for arm in (ours, theirs))
  return [a - b for a, b in zip(*pairs, strict=True)]


def recency(time_bias: Sequence[float]) -> float:
  """Mean bias of the last half hour less that of an hour to ten days ago."""
  table = np.asarray(time_bias)

  def mean(ends):
    gaps = jnp.asarray(np.geomspace(*ends, 400).astype(np.int32))
    buckets = np.unique(time_buckets(gaps, num_buckets=len(table)))
    return float(table[buckets].mean())

  return mean(_NEAR) - mean(_FAR)


def _said(differences: Mapping[str, Sequence[float]]) -> dict[str, Any]:
  """Mean and interval over seeds of each."""
  found = {}
  for name, by_seed in differences.items():
    interval = difference(by_seed, np.zeros(len(by_seed)))
    found[name] = [round(float(np.mean(by_seed)), 4)]
    if interval is not None:
      found[name] += [round(interval.low, 4), round(interval.high, 4)]
  return found


def _claim(
  verdict: str, needed: Mapping[str, Sequence[float]], **figures: Any
) -> Result:
  """Of differences that are all to be above 0."""
  return over_seeds(verdict, [*needed.values()], **_said(needed), **figures)


def _of_both(found: Found, ours: str, theirs: str) -> dict[str, list[float]]:
  """A difference where histories are long, and where there is a gap."""
  return {
    f"{ours} - {theirs}, {kind}": minus(found, kind, ours, theirs)
    for kind in _SEASONAL
  }


def claims(found: Found) -> dict[str, Result]:
  """7, 8, 9, 27a and 27f, corrected together.

  The opposite of 7 is asked beside it: that an absolute calendar is above.
  """
  rotary_helps = _of_both(found, "rotary", "no_time")
  rotary_helps |= _of_both(found, "year", "no_time")
  calendar_above = _of_both(found, "calendar", "rotary")
  calendar_above |= _of_both(found, "calendar", "year")
  by_share = {
    share: minus(found, "long", "bias-calendar", "bias", share)
    for share in (*LOWER_SHARES, SHARE)
  }
  weakest, strongest = min(by_share), max(by_share)
  grows = np.subtract(by_share[strongest], by_share[weakest]).tolist()
  breaks = [
    recency(one["time_bias"])
    for _, one in sorted(found["sessions", 0.0, "bias"].items())
  ]
  result = {
    "7 rotary time helps": _claim("holds", rotary_helps),
    "7 the season itself": _claim(
      "fails: a calendar is above rotary time", calendar_above
    ),
    "8": _claim("holds", _of_both(found, "calendar", "bias")),
    "9": _claim(
      "holds",
      _of_both(found, "bias-rotary", "bias")
      | _of_both(found, "bias-rotary", "rotary"),
    ),
    "9 of a year": _claim(
      "holds",
      _of_both(found, "bias-year", "bias")
      | _of_both(found, "bias-year", "year"),
    ),
    "27a": _claim(
      f"holds: what a calendar adds grows from a share of {weakest:g}",
      {"grows by": grows, f"at {strongest:g}": by_share[strongest]},
      by_share=_said({f"{share:g}": x for share, x in by_share.items()}),
    ),
    "27f": _claim(
      "holds",
      {
        **{
          f"NDCG@10, bias - {other}": minus(
            found, "sessions", "bias", other, 0.0, "ndcg@10"
          )
          for other in ("no_time", SHUFFLED)
        },
        "bias of the session - of before": breaks,
      },
    ),
    "token or added": _claim(
      "a token is above", _of_both(found, "calendar_token", "calendar")
    ),
  }
  correct(result)
  return result


def figures(found: Found) -> list[dict[str, Any]]:
  """One row an arm: its metrics by seed."""
  return [
    {
      "kind": kind,
      "share": share,
      "arm": arm,
      "seeds": sorted(by_seed),
      "seconds": round(
        float(np.mean([x["seconds"] for x in by_seed.values()]))
      ),
      **{
        metric: [round(v, 4) for v in values(found, kind, share, arm, metric)]
        for metric in (METRIC, "ndcg@10")
      },
    }
    for (kind, share, arm), by_seed in found.items()
  ]


def table(found: Found) -> str:
  """Markdown: HR@10 with its interval over seeds, beside the oracle's."""
  lines = [
    line(["histories", "season", "arm", "HR@10", "share of the oracle's"]),
    line(["---"] * 5),
  ]
  for kind, share, arm in found:
    ours = values(found, kind, share, arm)
    best = values(found, kind, share, ORACLE)
    interval = seeds.over_seeds(ours)
    text = f"{np.mean(ours):.4f}"
    if interval is not None:
      text += f" [{interval[0]:.4f}, {interval[1]:.4f}]"
    part = "" if arm == ORACLE else f"{np.mean(ours) / np.mean(best):.0%}"
    lines.append(line([kind, f"{share:g}", arm, text, part]))
  return "\n".join(lines)
