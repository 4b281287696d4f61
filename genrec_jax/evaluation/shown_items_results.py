# SPDX-License-Identifier: Apache-2.0
"""The section of ShownItems, from what was measured; its lines.

Parts are "validation" and "test". By part and task:

    metrics     {PART: {TASK: {"auc", "gauc", "ne", "log_loss", "ece", ...}}}
    intervals   {PART: {TASK: {"auc": [low, high]}}}     95 %, users resampled
    curves      {PART: {TASK: {"predicted", "observed", "count"}}}
    frozen      {PART: {TASK: {...}}}, metrics behind histories that end where
                the part begins; without parts that ask nobody twice
    baselines   {BASELINE: {PART: {TASK: {...}}}}
    versus      {BASELINE: {PART: {TASK: {"auc": [difference, low, high]}}}}
    versus_frozen    the same of frozen histories; empty without them
    slices      {PART: {KIND: {SLICE: {"impressions", "share", "tasks"}}}}

A metric that is not defined is null, and has no interval.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genrec_jax.evaluation.next_item_results import triples
from genrec_jax.evaluation.scored import Scored, task_metrics
from genrec_jax.evaluation.scores import Scores, compare
from genrec_jax.evaluation.shown_items_measurement import (
  FROZEN,
  MODEL,
  ImpressionMeasurement,
)
from genrec_jax.experiment.experiment import Run
from genrec_jax.metrics import score_bootstrap, slices
from genrec_jax.metrics.auc import gauc_share
from genrec_jax.metrics.pointwise import CalibrationMetrics

_SHOWN = ("auc", "gauc", "ne", "log_loss")


def section(
  run: Run, measured: ImpressionMeasurement, scores: Scores
) -> dict[str, Any]:
  """The JSON-able section.

  Args:
    run: what was trained.
    measured: what was measured.
    scores: the same as it is written to disk.
  """
  tasks, parts = measured.tasks, measured.parts
  model = {part: measured.scored[part][MODEL] for part in parts}
  return {
    "tasks": list(tasks),
    "num_impressions": {p: len(s.users_R) for p, s in model.items()},
    "num_requests": {p: s.num_requests for p, s in model.items()},
    "evaluate_seconds": {p: round(s, 2) for p, s in measured.seconds.items()},
    "flops_per_request": list(measured.flops_per_request),
    "flops_per_impression": {
      part: measured.flops_per_impression(part) for part in parts
    },
    "metrics": {p: metrics_of(s, tasks) for p, s in model.items()},
    "frozen": {
      part: metrics_of(measured.scored[part][FROZEN], tasks)
      for part in parts
      if FROZEN in measured.scored[part]
    },
    "intervals": {p: _intervals(s, tasks) for p, s in model.items()},
    "curves": {p: _curves(s, tasks) for p, s in model.items()},
    "baselines": {
      name: {p: metrics_of(measured.scored[p][name], tasks) for p in parts}
      for name in measured.baselines
    },
    # What is claimed is claimed of test.
    "versus": {
      name: {"test": differences(scores, scores, "test", name)}
      for name in measured.baselines
    },
    "versus_frozen": {
      name: {"test": differences(scores, scores, "test", name, name=FROZEN)}
      for name in measured.baselines
      if FROZEN in measured.scored["test"]
    },
    "slices": {p: _slices(run, s, tasks) for p, s in model.items()},
    "notes": list(measured.notes),
  }


def metrics_of(
  scored: Scored, tasks: tuple[str, ...]
) -> dict[str, dict[str, float | None]]:
  """All metrics of every task."""
  found = {}
  for number, task in enumerate(tasks):
    calibration = CalibrationMetrics.from_batch(
      scored.logits_RT[:, number], scored.positive(number)
    )
    found[task] = {**task_metrics(scored, number), **calibration.compute()}
  return found


def differences(
  ours: Scores,
  other: Scores,
  part: str,
  other_name: str = MODEL,
  *,
  name: str = MODEL,
) -> dict[str, dict[str, list[float]]]:
  """{task: {metric: [ours - other, low, high]}}."""
  found = compare(ours, other, part, name, other_name)
  return {task: triples(intervals) for task, intervals in found.items()}


def _intervals(scored: Scored, tasks: tuple[str, ...]) -> dict[str, Any]:
  found = {}
  for number, task in enumerate(tasks):
    intervals = score_bootstrap.intervals(
      scored.logits_RT[:, number], scored.positive(number), scored.users_R
    )
    found[task] = {name: [i.low, i.high] for name, i in intervals.items()}
  return found


def _curves(scored: Scored, tasks: tuple[str, ...]) -> dict[str, Any]:
  return {
    task: CalibrationMetrics.from_batch(
      scored.logits_RT[:, number], scored.positive(number)
    ).curve()
    for number, task in enumerate(tasks)
  }


def _slices(run: Run, scored: Scored, tasks: tuple[str, ...]) -> dict[str, Any]:
  kinds = {
    "history_length": slices.by_history_length(scored.lengths_R),
    "item_popularity": slices.by_popularity(scored.items_R, run.catalog.count),
  }
  return {
    kind: {
      name: {
        "impressions": int(mask.sum()),
        "share": float(np.mean(mask)),
        "tasks": {
          task: task_metrics(scored, number, where=mask)
          for number, task in enumerate(tasks)
        },
      }
      for name, mask in masks.items()
    }
    for kind, masks in kinds.items()
  }


def table(result: Mapping[str, Any]) -> str:
  """The document's numbers as lines of text."""
  width = 40
  lines: list[str] = []

  def line(label: str, cells: list[str]) -> str:
    return f"{label:{width}}" + "".join(f"{cell:>10}" for cell in cells)

  def values(metrics: Mapping[str, float | None]) -> list[str]:
    return [
      "undefined" if metrics[n] is None else f"{metrics[n]:.4f}" for n in _SHOWN
    ]

  def bounds(intervals: Mapping[str, list[float]], end: int) -> list[str]:
    return [
      f"{intervals[n][end]:.4f}" if n in intervals else "" for n in _SHOWN
    ]

  for task in result["tasks"]:
    lines.append(line(task, list(_SHOWN)))
    for part, metrics in result["metrics"].items():
      for baseline, parts in result["baselines"].items():
        lines.append(line(f"  {part}: {baseline}", values(parts[part][task])))
      lines.append(line(f"* {part}: {result['title']}", values(metrics[task])))
      intervals = result["intervals"][part][task]
      lines.append(line("      95 % over users, from", bounds(intervals, 0)))
      lines.append(line("      to", bounds(intervals, 1)))
      if part in result["frozen"]:
        cells = values(result["frozen"][part][task])
        lines.append(line("      of histories before the part", cells))
      lines.append(
        f"      gauc of {100 * gauc_share(metrics[task]):.1f} % of the"
        " impressions: those of users with both outcomes"
      )
  lines.append(
    f"{result['parameters']:,} parameters,"
    f" {result['flops_per_impression']['test']:,.0f} FLOPs per test impression"
  )
  lines += [f"note: {note}" for note in result["notes"]]
  return "\n".join(lines)


def comparison_table(against: Mapping[str, Any]) -> str:
  """Lines of text for one entry of the document's "against"."""
  lines = [
    f"minus {against['config']}, seed {against['seed']}, 95 % over users,"
    " paired; one seed each: no verdict over seeds:"
  ]
  for part, tasks in against["differences"].items():
    for task, metrics in tasks.items():
      for name in (m for m in _SHOWN if m in metrics):
        mean, low, high = metrics[name]
        lines.append(
          f"  {part:12}{task:14}{name:>10}{mean:>+10.4f}"
          f"  [{low:+.4f}, {high:+.4f}]"
        )
  return "\n".join(lines)
