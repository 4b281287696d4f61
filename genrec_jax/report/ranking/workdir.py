# SPDX-License-Identifier: Apache-2.0
"""Reads what a finished ranker left in its workdir.

    evaluation.json  its section                   evaluation/shown_items.py
    metrics.jsonl    training loss, validation     metrics/writer.py
    data/, best/     catalogue, histories, model   serving/ranker.py

The example's candidates are the most shown items that its user has no event
with; what is said of them is computed when the page is made.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np
import polars as pl

from genrec_jax.data.times import to_the_minute
from genrec_jax.evaluation.shown_items import METRICS
from genrec_jax.metrics.slices import COLD
from genrec_jax.metrics.writer import read_rows
from genrec_jax.ranking.attribution import NoAttentionWeights
from genrec_jax.ranking.slates import Diverse, Greedy, Policy, Sequential
from genrec_jax.ranking.what_if import REMOVED, Change
from genrec_jax.report import figures
from genrec_jax.report.curves import task_losses
from genrec_jax.report.document import Event, Part, Plot, Suggestion
from genrec_jax.report.figures import Row
from genrec_jax.report.ranking import figures as ranker_figures
from genrec_jax.report.ranking.figures import PastEffects
from genrec_jax.report.ranking.page import Candidate, RankedFor, part
from genrec_jax.report.ranking.runs import BASELINES
from genrec_jax.serving.loading import load_ranker
from genrec_jax.serving.ranker import Ranker

_CANDIDATES, _ROWS, _PLACES, _EVENTS = 40, 10, 8, 10
_LABEL = 34
# Attributes that people would not see twice in a row, the first there is.
_GROUPS = ("category", "categories", "genres", "tag", "author_id", "brand")


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """What the page shows of the section ShownItems of a workdir.

  Args:
    workdir: an evaluated run.
    section: of its document, with the description of the run.
    user: id of the example's user, by default the first one.
  """
  ranker = load_ranker(workdir, micro_batch=_CANDIDATES)
  rows = read_rows(workdir / "metrics.jsonl")
  plots = [learning_curve(section, rows), *result_plots(section)]
  return part(section, plots, ranked_for(ranker, user))


def learning_curve(
  result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Plot:
  """The mean of the tasks' losses, and what training watched of them."""
  # Training may have watched what is found, or several metrics at once.
  metric = next(
    (
      name
      for name in result["config_values"]["train"]["monitor"].split("+")
      if any(f"validation/{name}" in row for row in rows)
      and name.partition("/")[0] in METRICS
    ),
    "auc",
  )
  value = f"validation/{metric}"
  losses = task_losses(rows, result["tasks"])
  trained = [
    row for row in rows if losses and all(name in row for name in losses)
  ]
  evaluated = [row for row in rows if row.get(value) is not None]
  svg = figures.learning_curve(
    np.array([row["step"] for row in trained], np.int64),
    np.array([np.mean([row[n] for n in losses]) for row in trained]),
    np.array([row["step"] for row in evaluated], np.int64),
    np.array([row[value] for row in evaluated], np.float64),
    metric,
    result["step"],
    title="Learning curve of the tasks",
    from_zero=False,
  )
  return Plot(
    svg,
    "Training loss, the mean of the tasks (grey), and the metric on the"
    " validation part; the ring is the step whose parameters were kept.",
  )


def result_plots(result: Mapping[str, Any]) -> list[Plot]:
  """Plots of the document: the test part by task, and by slices."""
  tasks, test = result["tasks"], result["metrics"]["test"]
  plots = []
  for metric, chance, text in (
    ("auc", 0.5, "How well items are ordered, over all users; 0.5 is chance."),
    ("ne", 1.0, "Log loss over that of the base rate: lower is better."),
  ):
    rows = [
      Row(BASELINES.get(name, name), "baseline", _of(parts["test"], metric))
      for name, parts in result["baselines"].items()
    ]
    bands = result["intervals"]["test"]
    intervals = {t: bands[t][metric] for t in tasks if metric in bands[t]}
    rows.append(Row(result["title"], "model", _of(test, metric), intervals))
    svg = ranker_figures.by_task(rows, tasks, metric, chance)
    plots.append(Plot(svg, f"{text} The line is the 95 % interval over users."))
  plots.append(
    Plot(
      ranker_figures.calibration(result["curves"]["test"]),
      "Impressions in bins of equal number by predicted probability; on the"
      " dashed line predictions are right on average.",
    )
  )
  for kind, title, text in (
    (
      "history_length",
      "AUC by events before the request",
      "Groups by how much was known of the user, with their impressions.",
    ),
    (
      "item_popularity",
      "AUC by training events of the item",
      "The catalogue in quarters, rarest items on the left.",
    ),
  ):
    found = result["slices"]["test"][kind]
    values = {
      task: {_short(g): s["tasks"][task]["auc"] for g, s in found.items()}
      for task in tasks
    }
    counts = [s["impressions"] for s in found.values()]
    svg = ranker_figures.by_group(
      values, [_short(g) for g in found], counts, "auc", title
    )
    plots.append(Plot(svg, text))
  return plots


def _of(metrics: Mapping[str, Any], name: str) -> dict[str, float]:
  found = {task: values[name] for task, values in metrics.items()}
  return {task: value for task, value in found.items() if value is not None}


def _short(group: str) -> str:
  return "none" if group == COLD else group.replace(" training events", "")


def ranked_for(ranker: Ranker, user: str | None = None) -> RankedFor:
  """Everything that the page says of one user."""
  user = ranker.users.ids[0] if user is None else user
  history = ranker.history(user)
  candidates = _candidates(ranker, set(history["item_id"]))
  group = next((g for g in _GROUPS if g in ranker.catalog.attributes), None)
  policies: dict[str, Policy] = {"By value": Greedy()}
  if group is not None:
    policies[f"At most one of a {group.removesuffix('_id')}"] = Diverse(group)
  policies["Each behind those above it"] = Sequential()
  lists, places = {}, min(_PLACES, len(candidates))
  for name, policy in policies.items():
    table = ranker.rank(candidates, user, policy=policy, k=places)
    lists[name] = [
      Suggestion(_title(r), _group(ranker, r, group), r["value"])
      for r in table.iter_rows(named=True)
    ]
  best = ranker.rank(candidates, user, k=min(_ROWS, len(candidates)))
  weights = zip(ranker.tasks, ranker.value.weights, strict=True)
  return RankedFor(
    user_id=user,
    history=[
      Event(_title(r), r["action"], to_the_minute(r.get("time")))
      for r in history.tail(_EVENTS).iter_rows(named=True)
    ],
    candidates=[
      Candidate(
        _title(r),
        _group(ranker, r, group),
        r["value"],
        [r[t] for t in ranker.tasks],
      )
      for r in best.iter_rows(named=True)
    ],
    weights=" ".join(f"{w:+g} P({task})" for task, w in weights),
    lists=lists,
    reading=_reading(ranker, user, best.row(0, named=True), history),
  )


def _candidates(ranker: Ranker, seen: set[str]) -> list[str]:
  """Ids of the most shown items, without those seen where others are left."""
  order = np.argsort(-ranker.catalog.count[1:], kind="stable") + 1
  ids = [ranker.catalog.ids[i] for i in order]
  unseen = [i for i in ids if i not in seen]
  return (unseen or ids)[:_CANDIDATES]


def _reading(
  ranker: Ranker, user: str, first: Mapping[str, Any], history: pl.DataFrame
) -> list[Plot]:
  """What the last events do to the first candidate; nothing without events."""
  if not len(history):
    return []
  item = first["item_id"]
  layers: dict[str, np.ndarray] = {}
  attention = (
    " Right: the attention weights of the item on each event, summed over"
    " heads and the event's tokens; SiLU's may be negative, and they do not sum"
    " to 1. They describe what is read, not what it causes."
  )
  try:
    read = ranker.attribution(item, user).tail(_EVENTS)
    names = [name for name in read.columns if name.startswith("layer_")]
    layers = {n.replace("_", " "): read[n].to_numpy() for n in names}
    events = read
  except NoAttentionWeights:
    attention = " This model shows no attention weights."
    events = history.tail(_EVENTS)
  labels, removed, changed = [], [], []
  for row in events.iter_rows(named=True):
    other = _other(ranker, row)
    labels.append(f"{_title(row)[:_LABEL]}\n{row['action']} → {other}")
    table = ranker.what_if([item], user, [Change(row["event"], REMOVED)])
    removed.append(table["value"][0] - table["value_if"][0])
    table = ranker.what_if([item], user, [Change(row["event"], other)])
    changed.append(table["value_if"][0] - table["value"][0])
  found = PastEffects(labels, np.array(removed), np.array(changed), layers)
  return [
    Plot(
      ranker_figures.reading(found),
      f"Of {_title(first)}, the first by value. Left: what its value loses"
      " without the event, and what it would gain had the user done the other"
      " thing named, all else as it was." + attention,
      wide=True,
    )
  ]


def _other(ranker: Ranker, row: Mapping[str, Any]) -> str:
  """The opposite of what came of an event: all that goes together, or nothing.

  Nothing is what is likely where tasks are not, all where they all are.
  """
  untimed = "time" in row and row["time"] is None
  nothing, every = (
    ranker.actions.text(
      ranker.actions.likely(np.full(len(ranker.tasks), p), untimed=untimed)
    )
    for p in (0.1, 0.9)
  )
  return every if row["action"] in ("", nothing) else nothing


def _title(row: Mapping[str, Any]) -> str:
  return row["title"] or f"item {row['item_id']}"


def _group(ranker: Ranker, row: Mapping[str, Any], name: str | None) -> str:
  if name is None:
    return ""
  index = ranker.catalog.index_of(row["item_id"]) - 1
  value = ranker.catalog.attributes[name][index]
  return "" if value in (None, "") else f"{name.removesuffix('_id')} {value}"
