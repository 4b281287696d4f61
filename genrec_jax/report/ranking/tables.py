# SPDX-License-Identifier: Apache-2.0
"""The tables of rankers: one per task, and what they cost.

Rows are baselines first, then configs, the worst AUC first; several seeds give
mean and t interval over seeds, one the 95 % interval over users. A metric that
is not defined in one of the seeds is left out.
"""

from collections.abc import Mapping, Sequence
import statistics

from genrec_jax.metrics.auc import gauc_share
from genrec_jax.report.cells import OVER, cell, line
from genrec_jax.report.ranking.runs import BASELINES, RankerRun
from genrec_jax.report.runs import Summary, by_config, by_dataset

_METRICS = ("auc", "gauc", "ne")
_LEGEND = (
  "Every shown item of the test part is scored, none is sampled. GAUC is the"
  " mean AUC within users, by impressions, of users with both outcomes, and"
  " beside it stands which share of the impressions is theirs; NE is the log"
  " loss over that of a constant at the test part's own rate: below 1 is better"
  " than it. Frozen: the same behind histories that end where the test part"
  " begins. A running history has an order of its own within a user: after a"
  " like more likes are expected, and what was shown before is placed below. "
) + OVER


def ranker_tables(runs: Sequence[RankerRun]) -> list[str]:
  """Markdown of all data sets, in parts to be put below one another."""
  parts = []
  for heading, group in by_dataset(runs).items():
    sizes = f"{group[0].num_impressions['test']:,} test impressions"
    parts += [f"### Ranking: {heading}, {sizes}", _LEGEND]
    parts += [_task_table(task, group) for task in group[0].tasks]
    parts.append(_cost_table(group))
  return parts


def _summaries(
  values: Sequence[Mapping[str, float | None]],
) -> dict[str, Summary]:
  defined = {
    name: [v[name] for v in values if v.get(name) is not None]
    for name in _METRICS
  }
  return {
    name: Summary.of(found)
    for name, found in defined.items()
    if found and len(found) == len(values)
  }


def _gauc_name(task: str, runs: Sequence[RankerRun]) -> str:
  """GAUC and of what share; labels decide it, so that all runs agree."""
  shares = {}
  for run in runs:
    share = gauc_share(run.metrics["test"][task])
    shares[f"{run.config}/{run.seed}"] = f"{100 * share:.1f} %"
  if len(set(shares.values())) > 1:
    found = ", ".join(f"{run} {share}" for run, share in shares.items())
    raise ValueError(
      f"GAUC of {task} is of different shares of the test impressions, {found}:"
      " these runs were measured on other data or with other labels, so one"
      " table cannot hold them. Evaluate them on the same."
    )
  return f"GAUC ({next(iter(shares.values()))} of impressions)"


def _task_table(task: str, runs: Sequence[RankerRun]) -> str:
  names = ("AUC", _gauc_name(task, runs), "GAUC, frozen", "NE")
  lines = [
    line([f"**{task}**", *names, "from"]),
    line(["---", *("---:" for _ in names), "---"]),
  ]
  for name, label in BASELINES.items():
    found = [
      r.baselines[name]["test"][task] for r in runs if name in r.baselines
    ]
    if found:
      summaries = _summaries(found[:1])
      # What a baseline knows is of training alone.
      cells = _cells(summaries, {}, summaries.get("gauc"))
      lines.append(line([label, *cells, "baseline"]))
  rows = []
  for config, seeds in by_config(runs).items():
    summaries = _summaries([run.metrics["test"][task] for run in seeds])
    intervals = seeds[0].intervals["test"].get(task, {})
    still = [run.frozen["test"][task] for run in seeds if run.frozen]
    cells = _cells(summaries, intervals, _summaries(still).get("gauc"))
    named = ", ".join(str(run.seed) for run in seeds)
    order = summaries["auc"].mean if "auc" in summaries else 0.0
    label = f"**{seeds[0].title}** `{config}`"
    rows.append((order, line([label, *cells, f"seed {named}"])))
  # By the mean alone: equal ones stay in the order of their names.
  return "\n".join(lines + [text for _, text in sorted(rows, key=_first)])


def _cells(
  summaries: Mapping[str, Summary],
  intervals: Mapping[str, Sequence[float]],
  frozen: Summary | None,
) -> list[str]:
  """AUC, GAUC, GAUC of frozen histories, and NE."""
  auc, gauc, ne = (
    cell(summaries.get(m), intervals.get(m)) for m in ("auc", "gauc", "ne")
  )
  return [auc, gauc, cell(frozen), ne]


def _first(row: tuple[float, str]) -> float:
  return row[0]


def _cost_table(runs: Sequence[RankerRun]) -> str:
  lines = [
    line(
      [
        "what it costs",
        "parameters",
        "FLOPs per impression",
        "scoring, impressions/s",
        "training",
      ]
    ),
    line(["---", "---:", "---:", "---:", "---:"]),
  ]
  for config, seeds in by_config(runs).items():
    last = seeds[-1]
    speed = statistics.median(
      run.num_impressions["test"] / run.evaluate_seconds["test"]
      for run in seeds
    )
    minutes = statistics.fmean(run.train_seconds for run in seeds) / 60
    lines.append(
      line(
        [
          f"**{last.title}** `{config}`",
          f"{last.parameters:,}",
          f"{last.flops_per_impression['test'] / 1e6:,.1f} million",
          f"{speed:,.0f}",
          f"{minutes:.1f} min",
        ]
      )
    )
  return "\n".join(lines)
