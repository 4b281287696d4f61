# SPDX-License-Identifier: Apache-2.0
"""Finished runs as they stand on disk: results/<config>/<seed>.json.

One file per finished run, written by genrec evaluate, is all that tables
and figures know of it; evaluation/document.py says what each key holds. A part
is "test" or "validation", or one of these with a suffix for what was changed.
Runs of one config differ in their seed; runs of one data set, its size and its
split are comparable and make one table.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import pathlib
import statistics
from typing import Any

from genrec_jax.core import sealed
from genrec_jax.evaluation.document import of_section
from genrec_jax.metrics.seeds import over_seeds
from genrec_jax.metrics.slices import LATER
from genrec_jax.report import format_1

BASELINE_LABELS = {
  "most_popular": "most popular",
  "item_knn": "item-kNN",
  "oracle": "oracle (true model)",
}
DATASET_TITLES = {
  "ml-100k": "MovieLens-100K",
  "ml-1m": "MovieLens-1M",
  "ml-1m-all-users-order-only": "MovieLens-1M, order only",
  "ml-1m-users-1-2999": "MovieLens-1M, users 1-2999",
  "amazon2014-beauty": "Amazon Beauty (2014)",
  "amazon2014-toys_and_games": "Amazon Toys (2014), order only",
  "synthetic": "Simulated shoppers",
  "kuairand": "KuaiRand-Pure",
  "onlineretail-europe-london": "Online Retail I and II",
}
VARIANTS = {
  "test_unfiltered": "history among the candidates",
  "test_filtered": "history hidden",
  "test_last_time": "asked one median gap after the last event",
  "test_target_time": "told the time of the target",
}

# The slice in whose targets the order within a day plays no part.
LATER_NDCG = "ndcg@10, a day or more later"
# Searches that may miss items, by the name that an evaluation stores.
_APPROXIMATE = {"scann": "ScaNN"}
NEXT_ITEM, SHOWN_ITEMS = "evaluation.NextItem", "evaluation.ShownItems"


def dataset_title(dataset: str) -> str:
  """The data set's name for readers."""
  return DATASET_TITLES.get(dataset, dataset)


def sections(document: Mapping[str, Any]) -> list[dict[str, Any]]:
  """The sections of a result, each with the description of its run."""
  return [of_section(document, name) for name in document["sections"]]


@dataclasses.dataclass(frozen=True)
class Finished:
  """What every finished run says of itself; the fields are those of its file.

  Attributes:
    title: the model's published name, or the config's.
    system: class of its backbone.
    dirty: whether tracked files differed from `commit`.
    checkpoint, step: which parameters were measured, "best" or "latest".
    notes: sentences that must stand beside the numbers.
  """

  config: str
  title: str
  system: str
  dataset: str
  seed: int
  commit: str
  dirty: bool
  date: str
  device: str
  train_seconds: float
  checkpoint: str
  step: int
  parameters: int
  sort_rule: str
  split_rule: str
  num_users: int
  num_items: int
  notes: Sequence[str]
  config_values: Mapping[str, Any]

  @property
  def dataset_title(self) -> str:
    """The data set's name for readers."""
    return dataset_title(self.dataset)

  @property
  def label(self) -> str:
    """What a row of a table is called."""
    return self.title

  @property
  def group(self) -> str:
    """What runs that differ in their seed alone share, and no others."""
    return self.config

  @property
  def hides_history(self) -> bool:
    """Whether a user's earlier items were no candidates."""
    return True


@dataclasses.dataclass(frozen=True)
class RetrievalRun(Finished):
  """A finished run of a system that searches.

  Attributes:
    metrics: {part: {"hr@10": value, ...}}.
    intervals: {part: {"hr@10": [low, high], ...}}, 95 %, users resampled.
    baselines: {"most_popular" | "item_knn" | "oracle": {part: {...}}}.
    versus: {baseline: {part: {"hr@10": [difference, low, high]}}}, paired.
    slices: {part: {kind: {slice: {"hr@10": value, ...}}}} (metrics/slices.py).
    baseline_slices: {baseline: the same}; results from before have none.
    retriever: name of the search that found the items.
  """

  metrics: Mapping[str, Mapping[str, float]]
  intervals: Mapping[str, Mapping[str, Sequence[float]]]
  baselines: Mapping[str, Mapping[str, Mapping[str, float]]]
  versus: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
  slices: Mapping[str, Any]
  baseline_slices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  retriever: str = dataclasses.field(default_factory=str)

  @property
  def label(self) -> str:
    """The title, and the search where it may miss items."""
    search = _APPROXIMATE.get(self.retriever)
    return f"{self.title}, by {search}" if search else self.title

  @property
  def group(self) -> str:
    """A search that may miss items apart from the exact one of a config."""
    search = _APPROXIMATE.get(self.retriever)
    return f"{self.config}, {self.retriever}" if search else self.config

  @property
  def hides_history(self) -> bool:
    """Whether a user's earlier items were no candidates."""
    return "test_filtered" not in self.metrics


@dataclasses.dataclass(frozen=True)
class Summary:
  """Mean of one metric over seeds, with its 95 % t interval from two seeds on.

  Attributes:
    mean: over the seeds.
    interval: over seeds (metrics/seeds.py): other trainings, the same users.
    count: number of seeds.
  """

  mean: float
  interval: tuple[float, float] | None
  count: int

  @classmethod
  def of(cls, values: Sequence[float]) -> "Summary":
    return cls(statistics.fmean(values), over_seeds(values), len(values))


def read_json(path: str | pathlib.Path) -> dict[str, Any]:
  """Reads one document; ValueError where there is none, or it is damaged."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f"there is no {path}: run genrec evaluate first")
  return sealed.read_sealed(path, "Run genrec evaluate again.")


def read_result(path: str | pathlib.Path) -> dict[str, Any]:
  """A finished run's document in format 2, whichever it was written in."""
  document = read_json(path)
  return document if "sections" in document else format_1.in_format_2(document)


def finished(
  kind: type[Finished], values: Mapping[str, Any], path: str | pathlib.Path
) -> Any:
  """The run of a document; ValueError names the keys that it lacks."""
  fields = dataclasses.fields(kind)
  names = {field.name for field in fields}
  optional = {
    field.name
    for field in fields
    if field.default_factory is not dataclasses.MISSING
  }
  missing = sorted(names - optional - values.keys())
  if missing:
    raise ValueError(
      f"{path} lacks {', '.join(missing)}: write it anew with genrec evaluate"
    )
  return kind(**{name: values[name] for name in names if name in values})


def read_runs(folder: str | pathlib.Path) -> list[RetrievalRun]:
  """Reads every result of systems that search, ordered by config and seed."""
  return read_sections(RetrievalRun, folder, NEXT_ITEM)


def read_sections(
  kind: type[Finished], folder: str | pathlib.Path, evaluator: str
) -> list[Any]:
  """Every section of an evaluator in a folder of results."""
  found = [
    finished(kind, section, path)
    for path, document in documents(folder)
    for section in sections(document)
    if section["evaluator"] == evaluator
  ]
  return sorted(found, key=lambda run: (run.config, run.seed))


def documents(
  folder: str | pathlib.Path,
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
  """Every result of a folder."""
  paths = sorted(pathlib.Path(folder).glob("*/*.json"))
  return [(path, read_result(path)) for path in paths]


def by_dataset(runs: Iterable[Any]) -> dict[str, list[Any]]:
  """Groups comparable runs; the heading says what makes them comparable.

  Known data sets come first, in the order of DATASET_TITLES.
  """
  groups: dict[str, list[RetrievalRun]] = {}
  known = list(DATASET_TITLES)
  for run in sorted(
    runs,
    key=lambda run: (
      known.index(run.dataset) if run.dataset in known else len(known)
    ),
  ):
    heading = (
      f"{run.dataset_title}: {run.num_users:,} users, {run.num_items:,} items,"
      f" {run.split_rule}"
    )
    if not run.hides_history:
      heading += ", history among the candidates"
    groups.setdefault(heading, []).append(run)
  return groups


def by_config(runs: Iterable[Any]) -> dict[str, list[Any]]:
  """Groups runs that differ in their seed alone."""
  groups: dict[str, list[RetrievalRun]] = {}
  for run in runs:
    groups.setdefault(run.group, []).append(run)
  return groups


def summarize(
  values: Iterable[Mapping[str, float]],
) -> dict[str, Summary]:
  """Summaries of every metric that all of the mappings have."""
  values = list(values)
  names = [n for n in values[0] if all(n in other for other in values)]
  return {name: Summary.of([v[name] for v in values]) for name in names}


def baseline_summaries(
  runs: Iterable[RetrievalRun], part: str = "test"
) -> dict[str, dict[str, Summary]]:
  """{name: summaries}, the oracle last; each over the runs that have it.

  Baselines do not depend on a training seed: runs on one prepared data set
  agree, and an interval shows that they were prepared differently.
  """
  found: dict[str, list[Mapping[str, float]]] = {}
  for run in runs:
    for name, parts in run.baselines.items():
      if part in parts:
        later = later_day(run.baseline_slices.get(name, {}), part)
        found.setdefault(name, []).append({**parts[part], **later})
  order = sorted(
    found, key=lambda name: (name == "oracle", found[name][0]["ndcg@10"])
  )
  return {name: _summarize_any(found[name]) for name in order}


def later_day(slices: Mapping[str, Any], part: str) -> dict[str, float]:
  """{LATER_NDCG: value} of targets a day or more after the event before.

  Empty without times, and of results from before that slice.
  """
  found = slices.get(part, {}).get("since_last_event", {}).get(LATER)
  return {} if found is None else {LATER_NDCG: found["ndcg@10"]}


def _summarize_any(
  values: Sequence[Mapping[str, float]],
) -> dict[str, Summary]:
  """Summaries of every metric, each of the mappings that have it.

  Runs of one data set may have cut-offs of their own.
  """
  names = dict.fromkeys(name for one in values for name in one)
  return {
    name: Summary.of([one[name] for one in values if name in one])
    for name in names
  }


def best_baseline(
  run: RetrievalRun, metric: str, part: str = "test"
) -> tuple[str, float]:
  """Name and value of the baseline to beat; ValueError when a run has none."""
  values = {
    name: parts[part][metric]
    for name, parts in run.baselines.items()
    if name != "oracle" and part in parts
  }
  if not values:
    raise ValueError(f"run {run.config}/{run.seed} has no baseline on {part}")
  name = max(values, key=values.__getitem__)
  return name, values[name]


def gap_closed(
  run: RetrievalRun, metric: str, part: str = "test"
) -> float | None:
  """Share of the way from the best baseline to the oracle; None without one.

  0 is the baseline, 1 the oracle; below 0 the model lost to the baseline.
  """
  if "oracle" not in run.baselines:
    return None
  baseline = best_baseline(run, metric, part)[1]
  oracle = run.baselines["oracle"][part][metric]
  return (run.metrics[part][metric] - baseline) / (oracle - baseline)
