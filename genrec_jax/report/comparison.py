# SPDX-License-Identifier: Apache-2.0
"""By how much one side is better than another, and what a verdict rests on.

    over users   other users, these trainings      bootstrap, paired
    over seeds   other trainings, these users      t interval (metrics/seeds.py)
    over both    other users and other trainings   bootstrap of two levels

A verdict rests on the seeds: a side is ahead where the interval over seeds
leaves out 0. One metric, the primary one, is named before the figures are
looked at and is taken as it is; the p-values of all others are corrected
together (Holm), and they need one below .05 after it. Where the interval over
users has 0, it is a verdict on these users only. With one seed on a side there
is no interval over seeds, and no verdict.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from typing import Any

from genrec_jax.core.suggest import choices_hint
from genrec_jax.metrics.bootstrap import Interval, excludes_zero
from genrec_jax.metrics.holm import holm
from genrec_jax.metrics.seeds import LEVEL, SeedInterval, difference

NEXT_ITEM = "next item"
LOWER_IS_BETTER = ("ne", "log_loss")
NO_VERDICT = "none: one seed"


@dataclasses.dataclass(frozen=True)
class Side:
  """What is compared: a config, what its model is called, and its seeds."""

  config: str
  title: str
  seeds: tuple[int, ...]

  @property
  def text(self) -> str:
    kind = "seed" if len(self.seeds) == 1 else "seeds"
    named = dict.fromkeys((self.title, self.config))
    return f"{' '.join(named)} ({kind} {', '.join(map(str, self.seeds))})"


def same_seeds(ours: Side, theirs: Side) -> bool:
  """Whether seeds are paired: equal ones of two forms of one config file.

  They draw the same batches and parameters. In another file a seed is another
  training, which has no more than its number in common.
  """
  files = [side.config.partition("-")[0] for side in (ours, theirs)]
  return ours.seeds == theirs.seeds and files[0] == files[1]


@dataclasses.dataclass(frozen=True)
class Measured:
  """One metric of both sides.

  Attributes:
    ours, theirs: {seed: value}.
    users, both: differences of the means; None where users are not known.
  """

  ours: Mapping[int, float]
  theirs: Mapping[int, float]
  users: Interval | None = None
  both: Interval | None = None


# Of a section, "next item" or a task, and a metric.
Name = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class ComparisonRow:
  """A difference, how sure it is, and what may be said of it.

  Attributes:
    section, metric: of what.
    mean: ours - theirs, of the means over seeds.
    users, seeds, both: 95 % intervals; None where there is none.
    p_holm: that of `seeds`, corrected; None of the primary metric.
    verdict: in words.
  """

  section: str
  metric: str
  mean: float
  users: Interval | None
  seeds: SeedInterval | None
  both: Interval | None
  p_holm: float | None
  verdict: str


@dataclasses.dataclass(frozen=True)
class Comparison:
  """All that is said of two sides.

  Attributes:
    ours, theirs: the sides.
    of: what was measured, such as "test, model".
    primary: the one that is not corrected.
    named: whether it was named, or is the default.
    rows: the primary one is among them.
  """

  ours: Side
  theirs: Side
  of: str
  primary: Name
  named: bool
  rows: Sequence[ComparisonRow]


def default_primary(names: Sequence[Name]) -> Name:
  """NDCG@10 of what finds items, else AUC of the first task."""
  for wanted in (NEXT_ITEM, "ndcg@10"), (names[0][0], "auc"):
    if wanted in names:
      return wanted
  return names[0]


def compare(
  ours: Side,
  theirs: Side,
  of: str,
  measured: Mapping[Name, Measured],
  primary: str | None = None,
  metrics: Sequence[str] = (),
) -> Comparison:
  """Differences with their verdicts.

  Args:
    ours, theirs, of: see Comparison.
    measured: of every section and metric.
    primary: "SECTION/METRIC"; None for the default.
    metrics: those to be looked at, and corrected for; all where empty.

  Raises:
    ValueError: there is no such metric.
  """
  every = dict.fromkeys(metric for _, metric in measured)
  for metric in metrics:
    if metric not in every:
      raise ValueError(
        f"no metric {metric!r} was measured.{choices_hint(metric, every)}"
      )
  kept = {n: m for n, m in measured.items() if not metrics or n[1] in metrics}
  names = {"/".join(name): name for name in kept}
  if primary is not None and primary not in names:
    raise ValueError(
      f"the primary metric {primary!r} is not among what is compared."
      + choices_hint(primary, names)
    )
  first = names[primary] if primary else default_primary(list(kept))
  paired = same_seeds(ours, theirs)
  over = {
    n: difference(m.ours, m.theirs, paired=paired) for n, m in kept.items()
  }
  adjusted = holm(
    {n: i.p_value for n, i in over.items() if i is not None and n != first}
  )
  rows = []
  for name, m in kept.items():
    seeds, corrected = over[name], adjusted.get(name)
    mean = _mean(m.ours) - _mean(m.theirs)
    said = _verdict(name[1], mean, m.users, seeds, corrected)
    rows.append(
      ComparisonRow(*name, mean, m.users, seeds, m.both, corrected, said)
    )
  return Comparison(ours, theirs, of, first, primary is not None, rows)


def _mean(side: Mapping[int, float]) -> float:
  return sum(side.values()) / len(side)


def _verdict(
  metric: str,
  mean: float,
  users: Interval | None,
  seeds: SeedInterval | None,
  p_holm: float | None,
) -> str:
  if seeds is None:
    return NO_VERDICT
  sure = excludes_zero(seeds.low, seeds.high)
  if not sure or (p_holm is not None and p_holm >= 1 - LEVEL):
    return "not decided"
  side = "ahead" if (mean > 0) != (metric in LOWER_IS_BETTER) else "behind"
  if users is not None and not excludes_zero(users.low, users.high):
    return f"{side}, on these users only"
  return side


def rests_on(found: Comparison) -> str:
  """What verdicts rest on, in a sentence."""
  first = found.rows[0].seeds
  if first is None:
    counts = [len(side.seeds) for side in (found.ours, found.theirs)]
    if counts == [1, 1]:
      return "One seed each: no verdict over seeds."
    return "One seed of a side: no verdict over seeds."
  how = "paired by seed" if first.paired else "Welch, trainings of their own"
  return (
    f"Verdicts rest on the t interval over seeds ({how}): other trainings,"
    " the same users."
  )


def line_of(found: Comparison) -> str:
  """One line of JSON."""

  def ends(interval: Interval | SeedInterval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]

  differences: dict[str, dict[str, Any]] = {}
  for row in found.rows:
    differences.setdefault(row.section, {})[row.metric] = {
      "difference": row.mean,
      "over_users": ends(row.users),
      "over_seeds": ends(row.seeds),
      "over_both": ends(row.both),
      "p_over_seeds": None if row.seeds is None else row.seeds.p_value,
      "p_holm": row.p_holm,
      "verdict": row.verdict,
    }
  return json.dumps(
    {
      "ours": dataclasses.asdict(found.ours),
      "theirs": dataclasses.asdict(found.theirs),
      "of": found.of,
      "primary": "/".join(found.primary),
      "primary_named": found.named,
      "rests_on": rests_on(found),
      "differences": differences,
    }
  )


def table_of(found: Comparison) -> str:
  """A line per section and metric, below what they are."""
  chosen = "named" if found.named else "by default"
  lines = [
    f"{found.ours.text} - {found.theirs.text}, {found.of}; 95 % intervals.",
    rests_on(found),
    f"Primary metric, {chosen}: {' '.join(found.primary)} (*). The other"
    f" {len(found.rows) - 1} are corrected together (Holm).",
    f"{'':26}{'':>8}{'over users':>20}{'over seeds':>20}{'over both':>20}"
    f"{'p':>7}{'Holm':>7}  verdict",
  ]
  for row in found.rows:
    mark = "*" if (row.section, row.metric) == found.primary else " "
    p = "-" if row.seeds is None else f"{row.seeds.p_value:.3f}"
    corrected = "-" if row.p_holm is None else f"{row.p_holm:.3f}"
    bands = "".join(f"{_ends(i):>20}" for i in (row.users, row.seeds, row.both))
    lines.append(
      f"{mark} {row.section:13} {row.metric:10}{row.mean:>+8.4f}{bands}"
      f"{p:>7}{corrected:>7}  {row.verdict}"
    )
  return "\n".join(lines)


def _ends(interval: Interval | SeedInterval | None) -> str:
  if interval is None:
    return "-"
  return f"[{interval.low:+.4f}, {interval.high:+.4f}]"
