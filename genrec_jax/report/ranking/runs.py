# SPDX-License-Identifier: Apache-2.0
"""Finished runs of systems that score shown items, as they stand on disk.

They lie beside those of systems that search (report/runs.py), in
results/<config>/<seed>.json; evaluation/shown_items_results.py says what each
key holds. Metrics are by part and by task.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from genrec_jax.report.runs import SHOWN_ITEMS, Finished, read_sections

BASELINES = {
  "base_rate": "base rate",
  "item_rate": "the item's rate",
  "user_rate": "the user's rate",
}

ByTask = Mapping[str, Mapping[str, float | None]]


@dataclasses.dataclass(frozen=True)
class RankerRun(Finished):
  """A finished run of a ranker.

  Attributes:
    tasks: what is predicted.
    num_impressions: {part: count}.
    evaluate_seconds: {part: wall time of the scores}.
    flops_per_impression: {part: products of the compiled step}.
    metrics: {part: {task: {"auc" | "gauc" | "ne" ...: value or None}}}.
    frozen: the same behind histories that end where the part begins; empty
      where nobody is asked twice.
    intervals: {part: {task: {metric: [low, high]}}}, 95 %, users resampled.
    baselines: {baseline: {part: {task: {...}}}}.
  """

  tasks: Sequence[str]
  num_impressions: Mapping[str, int]
  evaluate_seconds: Mapping[str, float]
  flops_per_impression: Mapping[str, float]
  metrics: Mapping[str, ByTask]
  frozen: Mapping[str, ByTask]
  intervals: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
  baselines: Mapping[str, Mapping[str, ByTask]]


def read_ranker_runs(folder: str | pathlib.Path) -> list[RankerRun]:
  """Reads every ranker's result of a folder, ordered by config and seed."""
  return read_sections(RankerRun, folder, SHOWN_ITEMS)
