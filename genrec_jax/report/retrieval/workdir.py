# SPDX-License-Identifier: Apache-2.0
"""Reads what a finished run that finds items left in its workdir.

    evaluation.json  its section                    evaluation/next_item.py
    ranks.npz        rank of every test target      evaluation/ranks.py
    metrics.jsonl    training loss, validation      metrics/writer.py
    data/, best/     catalogue, histories, model    serving/loading.py

Slices and the comparison with baselines are computed from the ranks, so that
every bar is over the same requests; intervals resample users.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any
import warnings

from jaxtyping import Bool, Float, Int
import numpy as np
import polars as pl

from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.times import to_the_minute
from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.metrics import bootstrap, slices
from genrec_jax.metrics.ranking import per_request
from genrec_jax.metrics.writer import read_rows
from genrec_jax.report import figures
from genrec_jax.report.curves import task_losses
from genrec_jax.report.document import Event, Part, Plot, Suggestion
from genrec_jax.report.figures import Row
from genrec_jax.report.retrieval import season
from genrec_jax.report.retrieval.page import Example, part
from genrec_jax.report.runs import BASELINE_LABELS, RetrievalRun, finished
from genrec_jax.serving.loading import load
from genrec_jax.serving.recommender import Recommender

_SHOWN_EVENTS = 10
_METRIC = "ndcg@10"


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """What the page shows of the section NextItem of a workdir.

  Args:
    workdir: an evaluated run.
    section: of its document, with the description of the run.
    user: id of the example's user, by default the first one.
  """
  run = finished(RetrievalRun, section, workdir / "evaluation.json")
  model = load(workdir)
  ranks = Ranks.load(workdir / "ranks.npz")
  rows = read_rows(workdir / "metrics.jsonl")
  plots = [
    _curve(rows, run, section.get("all_tasks", ())),
    *_comparisons(run, ranks),
    *_slices(run, ranks, model.catalog.count),
    *season.plots_of(model, user),
  ]
  return part(run, plots, example_of(model, user))


def _curve(
  rows: Sequence[Mapping[str, Any]], run: RetrievalRun, tasks: Sequence[str]
) -> Plot:
  value = f"validation/{_METRIC}"
  others = {"train/grad_norm", "train/mfu", *task_losses(rows, tasks)}
  # An objective logs its first part under its own name.
  loss = next(
    name
    for row in rows
    for name in row
    if name.startswith("train/") and name not in others
  )
  trained = [row for row in rows if row.get(loss) is not None]
  evaluated = [row for row in rows if row.get(value) is not None]
  svg = figures.learning_curve(
    np.array([row["step"] for row in trained], np.int64),
    np.array([row[loss] for row in trained], np.float64),
    np.array([row["step"] for row in evaluated], np.int64),
    np.array([row[value] for row in evaluated], np.float64),
    _METRIC,
    run.step,
  )
  return Plot(
    svg,
    "Training loss (grey) and the metric on the validation part; the ring is"
    " the step whose parameters were kept and tested.",
  )


def _methods(run: RetrievalRun) -> list[tuple[str, str, str]]:
  """(name in ranks.npz, label, role): baselines, the model, the oracle."""
  baselines = [
    (name, BASELINE_LABELS.get(name, name), "baseline")
    for name in run.baselines
    if name != "oracle"
  ]
  oracle = [("oracle", BASELINE_LABELS["oracle"], "oracle")]
  return [
    *baselines,
    ("model", run.title, "model"),
    *(oracle if "oracle" in run.baselines else []),
  ]


def _comparisons(run: RetrievalRun, ranks: Ranks) -> list[Plot]:
  values = {"model": run.metrics["test"]} | {
    name: parts["test"] for name, parts in run.baselines.items()
  }
  rows = [
    Row(
      label,
      role,
      values[name],
      run.intervals.get("test", {}) if name == "model" else {},
    )
    for name, label, role in _methods(run)
  ]
  found = {
    label: ranks.columns[f"test/ranks/{name}"]
    for name, label, _ in _methods(run)
  }
  roles = {label: role for _, label, role in _methods(run)}
  return [
    Plot(
      figures.metric_at_k(rows, "ndcg", ranks.ks),
      "Quality of the first K places; the band is the 95 % interval over"
      " users.",
    ),
    Plot(
      figures.metric_at_k(rows, "hr", ranks.ks),
      "Share of requests whose next item is among the first K of all items;"
      " the band is the 95 % interval over users.",
    ),
    Plot(
      figures.rank_curve(found, roles, max(ranks.ks)),
      "The same for every place; a curve further up finds the next item"
      " earlier.",
    ),
  ]


def _interval_by_group(
  value_R: Float[np.ndarray, "R"],
  users_R: Int[np.ndarray, "R"],
  masks: Mapping[str, Bool[np.ndarray, "R"]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
  found = {
    group: bootstrap.interval(value_R[mask], users_R[mask])
    for group, mask in masks.items()
  }
  return (
    {group: interval.mean for group, interval in found.items()},
    {group: (i.low, i.high) for group, i in found.items()},
  )


def _short(group: str) -> str:
  """A group's name without what the plot's title says."""
  return group.replace(" training events", "").replace("cold: ", "")


def _slices(
  run: RetrievalRun, ranks: Ranks, item_counts: Int[np.ndarray, "V1"]
) -> list[Plot]:
  """Two bar charts: by history length, by popularity of the target."""
  columns = ranks.columns
  kinds = {
    "By events before the request": slices.by_history_length(
      columns["test/lengths"]
    ),
    "By training events of the next item": slices.by_popularity(
      columns["test/targets"], item_counts
    ),
  }
  captions = (
    "Groups of requests by how much was known of the user, with the number of"
    " requests; thin lines are 95 % intervals over users.",
    "The catalogue in quarters, rarest items on the left: whether a model only"
    " knows what is popular.",
  )
  plots = []
  for (title, found), caption in zip(kinds.items(), captions, strict=True):
    masks = {_short(group): mask for group, mask in found.items()}
    rows = []
    for name, label, role in _methods(run):
      value_R = per_request(columns[f"test/ranks/{name}"], (10,))[_METRIC]
      values, intervals = _interval_by_group(
        value_R, columns["test/users"], masks
      )
      rows.append(
        Row(label, role, values, intervals if role == "model" else {})
      )
    counts = [int(mask.sum()) for mask in masks.values()]
    svg = figures.slices(rows, list(masks), counts, _METRIC, title)
    plots.append(Plot(svg, caption))
  return plots


def _detail(catalog: Catalog, item_id: str) -> str:
  """The item's text attributes, in one line."""
  index = catalog.index_of(item_id) - 1
  # A selection of no columns would have no rows either.
  texts = catalog.attributes[index].select(pl.col(pl.String))
  return ", ".join(x.item() for x in texts.iter_columns() if x.item())


def example_of(model: Recommender, user: str | None, k: int = 10) -> Example:
  """History and recommendations of one user."""
  user = model.users.ids[0] if user is None else user
  history = model.history(user=user, strict=True).tail(_SHOWN_EVENTS)
  events = [
    Event(
      row["title"],
      _detail(model.catalog, row["item_id"]),
      to_the_minute(row.get("time")),
    )
    for row in history.iter_rows(named=True)
  ]
  with warnings.catch_warnings():
    # The page says itself where there are fewer.
    warnings.simplefilter("ignore", UserWarning)
    answer = model.recommend(user=user, k=k)
  suggestions = [
    Suggestion(
      row["title"], _detail(model.catalog, row["item_id"]), row["score"]
    )
    for row in answer.iter_rows(named=True)
  ]
  return Example(user, events, suggestions)
