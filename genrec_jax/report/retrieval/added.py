# SPDX-License-Identifier: Apache-2.0
"""What finished runs add to other retrievers, in the tables of docs/results.md.

One table a data set, of the results that have a section of
evaluation/incremental_recall.py: each of the other retrievers alone, then the
runs by config, at every cut-off that one of them has. Of several seeds a cell
has mean and t interval over seeds, of one the 95 % interval over users.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from genrec_jax.report.cells import OVER, cell, line
from genrec_jax.report.runs import (
  Finished,
  Summary,
  by_config,
  by_dataset,
  read_sections,
  summarize,
)

INCREMENTAL = "evaluation.IncrementalRecall"
# Columns of a cut-off: what the section calls them, and what readers do.
_COLUMNS = {
  "ensemble": "the others@{}",
  "model": "alone@{}",
  "r_inc": "R_inc@{}",
  "r_inc_fixed": "R_inc@{}, fixed",
}
_LEGEND = (
  "The others are retrievers whose lists were made for every request, and take"
  " turns; alone is the recall of one retriever among the whole catalogue."
  " R_inc@K is the recall of a model's first K items and the others' first K"
  " together, less that of the others: places are added, which cannot hurt."
  " Fixed: of K places a model takes the last {}, so it may be below 0. "
) + OVER


@dataclasses.dataclass(frozen=True)
class AddingRun(Finished):
  """A finished run, beside other retrievers.

  Attributes:
    ks: cut-offs.
    metrics: {part: {"ensemble@K", "model@K", "r_inc@K", ...}}.
    intervals: {part: {metric: [low, high]}}, 95 %, users resampled.
    retrievers: {name: {part: {"recall@K": value}}}.
  """

  ks: Sequence[int]
  metrics: Mapping[str, Mapping[str, float]]
  intervals: Mapping[str, Mapping[str, Sequence[float]]]
  retrievers: Mapping[str, Mapping[str, Mapping[str, float]]]

  @property
  def hides_history(self) -> bool:
    """Whether a user's earlier items were left out of all lists."""
    return self._asked.get("filter_history", True)

  @property
  def replaced(self) -> str:
    """Share of the places that a model takes of a fixed number."""
    return f"{self._asked.get('replaced', 0.2):.0%}"

  @property
  def _asked(self) -> Mapping:
    """The options that the config names."""
    nodes = self.config_values.get("evals", {}).values()
    return next((n for n in nodes if n.get("name") == INCREMENTAL), {})


def read_adding_runs(folder: str | pathlib.Path) -> list[AddingRun]:
  """Every such section of a folder of results, by config and seed."""
  return read_sections(AddingRun, folder, INCREMENTAL)


def adding_tables(runs: Sequence[AddingRun], part: str = "test") -> list[str]:
  """Markdown of all data sets, in parts to be put below one another."""
  parts = []
  for heading, group in by_dataset(runs).items():
    shares = " or ".join(dict.fromkeys(run.replaced for run in group))
    parts.append(f"### Beside other retrievers: {heading}")
    parts += [_LEGEND.format(shares), _table(group, part)]
  return parts


def _table(runs: Sequence[AddingRun], part: str) -> str:
  ks = sorted({k for run in runs for k in run.ks})
  names = [f"{name}@{k}" for k in ks for name in _COLUMNS]
  heads = [text.format(k) for k in ks for text in _COLUMNS.values()]
  lines = [
    line(["", *heads, "from"]),
    line(["---", *("---:" for _ in heads), "---"]),
  ]
  for retriever, values in _retrievers(runs, part).items():
    found = {f"model@{name}": one for name, one in values.items()}
    cells = [cell(found.get(name)) for name in names]
    lines.append(line([f"`{retriever}`", *cells, "one of the others"]))
  for config, seeds in by_config(runs).items():
    summaries = summarize(run.metrics[part] for run in seeds)
    intervals = seeds[0].intervals[part]
    cells = [cell(summaries.get(n), intervals.get(n)) for n in names]
    numbers = ", ".join(str(run.seed) for run in seeds)
    label = f"**{seeds[0].label}** `{config}`"
    lines.append(line([label, *cells, f"seed {numbers}"]))
  return "\n".join(lines)


def _retrievers(
  runs: Sequence[AddingRun], part: str
) -> dict[str, dict[str, Summary]]:
  """Recall of each by cut-off, over the runs that have it.

  They do not depend on a training seed: an interval shows that runs had other
  lists of one name.
  """
  found: dict[str, dict[str, list[float]]] = {}
  for run in runs:
    for name, parts in run.retrievers.items():
      for metric, value in parts[part].items():
        by_k = found.setdefault(name, {})
        by_k.setdefault(metric.partition("@")[2], []).append(value)
  return {
    name: {k: Summary.of(values) for k, values in by_k.items()}
    for name, by_k in found.items()
  }
