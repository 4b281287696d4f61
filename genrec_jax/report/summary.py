# SPDX-License-Identifier: Apache-2.0
"""The one table of README.md: a data set a line, ours, baseline, published.

What is ours and which baseline is the best are chosen on validation and shown
on test, so that no line is the best of several looks at test. Of a data set
that was measured with several item tables the one with the most runs is shown.
docs/results.md has every run, and how published setups differ.
"""

from collections.abc import Callable, Mapping, Sequence
import statistics
from typing import Any

from genrec_jax.report.cells import cell, line
from genrec_jax.report.published import published_for
from genrec_jax.report.ranking.runs import BASELINES, RankerRun
from genrec_jax.report.runs import (
  BASELINE_LABELS,
  RetrievalRun,
  Summary,
  by_config,
  by_dataset,
)

PICTURE = """\
![Test NDCG@10 of every method, one panel per data set](results/overview.svg)

*Bars: 95 %, over seeds (t) where there are several, else over users. Hollow:
published by others.*\
"""
LEGEND = """\
*Full ranking of the whole catalogue, or AUC of all shown items; nothing is
sampled. Ours and the baseline are chosen on validation, shown on test. In
brackets 95 % over seeds, in parentheses over users of one seed. Published rows
were not measured here, and differ in setup:
[docs/results.md](docs/results.md).*\
"""
NO_RESULTS = "No finished run yet: `results/` is empty."
_FOUND, _SCORED = "ndcg@10", "auc"
_HEADER = ("data set", "metric on test", "ours", "baseline", "published")


def summary_markdown(
  runs: Sequence[RetrievalRun], rankers: Sequence[RankerRun] = ()
) -> str:
  """Everything that stands between the markers of README.md."""
  if not runs and not rankers:
    return NO_RESULTS
  lines = [line(_HEADER), line(["---", "---", "---", "---", "---"])]
  lines += [_found_line(group) for group in _groups(runs)]
  lines += [_scored_line(group) for group in _groups(rankers)]
  table = "\n".join(lines)
  return "\n\n".join([*([PICTURE] if runs else []), table, LEGEND])


def _groups(runs: Sequence[Any]) -> list[list[Any]]:
  """Comparable runs, a data set once."""
  found: dict[str, list[Any]] = {}
  for group in by_dataset(runs).values():
    title = group[0].dataset_title
    if len(group) > len(found.get(title, ())):
      found[title] = group
  return list(found.values())


def _best(runs: Sequence[Any], of: Callable[[Any, str], float]) -> str:
  """The config that is best on validation, over its seeds."""
  means = {
    config: statistics.fmean(of(run, "validation") for run in seeds)
    for config, seeds in by_config(runs).items()
  }
  return max(means, key=means.__getitem__)


def _ours(
  runs: Sequence[Any],
  of: Callable[[Any, str], float],
  users: Callable[[Any], Sequence[float] | None],
) -> str:
  seeds = by_config(runs)[_best(runs, of)]
  summary = Summary.of([of(run, "test") for run in seeds])
  return f"{seeds[0].label} **{cell(summary, users(seeds[0]))}**"


def _baseline(
  values: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]
) -> str:
  """Of {baseline: {part: value}}, the oracle left out."""
  known = {n: v for n, v in values.items() if n != "oracle"}
  if not known:
    return "-"
  name = max(known, key=lambda n: known[n]["validation"])
  return f"{labels.get(name, name)} {known[name]['test']:.4f}"


def _found_line(runs: Sequence[RetrievalRun]) -> str:
  published = [
    row for row in published_for(runs[0].dataset) if _FOUND in row.metrics
  ]
  best = max(published, key=lambda row: row.metrics[_FOUND], default=None)
  baselines = {
    name: {part: parts[part][_FOUND] for part in ("validation", "test")}
    for name, parts in runs[0].baselines.items()
  }
  return line(
    [
      runs[0].dataset_title,
      _FOUND.upper(),
      _ours(
        runs,
        lambda run, part: run.metrics[part][_FOUND],
        lambda run: run.intervals.get("test", {}).get(_FOUND),
      ),
      _baseline(baselines, BASELINE_LABELS),
      "-"
      if best is None
      else f"{best.system} ({best.by}) {best.metrics[_FOUND]:.4f}",
    ]
  )


def _scored_line(runs: Sequence[RankerRun]) -> str:
  task = runs[0].tasks[0]
  baselines = {
    name: {part: parts[part][task][_SCORED] for part in ("validation", "test")}
    for name, parts in runs[0].baselines.items()
  }
  return line(
    [
      runs[0].dataset_title,
      f"{_SCORED.upper()} of {task}",
      _ours(
        runs,
        lambda run, part: run.metrics[part][task][_SCORED],
        lambda run: run.intervals.get("test", {}).get(task, {}).get(_SCORED),
      ),
      _baseline(baselines, BASELINES),
      "-",
    ]
  )
