# SPDX-License-Identifier: Apache-2.0
"""The section of NextItem, from what was measured; its lines; its differences.

Parts are named as in next_item_measurement.py: "validation" and "test" as the
evaluator's filter_history says, and suffixed variants.

    metrics, intervals   {PART: {"hr@10": value | [low, high]}}
    baselines            {BASELINE: {PART: {"hr@10": value}}}
    versus               {BASELINE: {PART: {"hr@10": [difference, low, high]}}}
    slices               {PART: {KIND: {SLICE: {"requests", "share", ...}}}}
    baseline_slices      {BASELINE: the same}

Intervals are 95 %, users resampled (metrics/bootstrap.py).
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.data.action_text import MARKS, words
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.evaluation.full_ranking import Actions
from genrec_jax.evaluation.next_item_measurement import MODEL, Measurement
from genrec_jax.evaluation.ranks import Ranks, compare
from genrec_jax.experiment.experiment import Run
from genrec_jax.metrics import bootstrap
from genrec_jax.metrics.ranking import by_chance, per_request
from genrec_jax.metrics.slices import COLD

_SHOWN = ("hr@10", "ndcg@10", "mrr@10", "hr@50", "hr@200")


def section(
  run: Run, measured: Measurement, retriever: str | None
) -> dict[str, Any]:
  """The JSON-able section.

  Args:
    run: what was trained.
    measured: what was measured.
    retriever: name of the index that was searched; None for the config's own.
  """
  model = measured.of(MODEL)
  actions = {
    part: target_actions(
      run.histories, model[part].users_R, model[part].events_R
    )
    for part in measured.parts
  }
  fingerprint = run.histories.manifest.fingerprint
  return {
    "retriever": retriever or run.retriever_name,
    "num_requests": {part: e.num_requests for part, e in model.items()},
    "repeat_share": {
      part: float(e.repeats_R.mean()) for part, e in model.items()
    },
    "evaluate_seconds": {
      part: round(e.seconds, 2) for part, e in model.items()
    },
    "metrics": {part: e.metrics for part, e in model.items()},
    "intervals": {part: _intervals(e) for part, e in model.items()},
    "baselines": {
      name: {part: e.metrics for part, e in measured.of(name).items()}
      for name in measured.baselines
    },
    "versus": _versus(measured, fingerprint),
    "slices": {
      part: model[part].slices(run.catalog.count, actions[part])
      for part in measured.parts
    },
    "baseline_slices": {
      name: {
        part: measured.of(name)[part].slices(run.catalog.count, actions[part])
        for part in measured.parts
      }
      for name in measured.baselines
    },
    "notes": list(measured.notes),
  }


def target_actions(
  histories: HistorySource,
  users_R: Int[np.ndarray, "R"],
  events_R: Int[np.ndarray, "R"],
) -> Actions | None:
  """What was done with each request's target; None where data do not say."""
  manifest = histories.manifest
  if "action" not in manifest.fields:
    return None
  events = zip(users_R, events_R, strict=True)
  found = [histories[int(user)]["action"][event] for user, event in events]
  done = [sorted(words(action) - MARKS) for action in manifest.actions]
  return np.array(found, np.int32), done


def _intervals(evaluation) -> dict[str, list[float]]:
  found = bootstrap.intervals(
    per_request(evaluation.ranks_R, evaluation.ks), evaluation.users_R
  )
  return {name: [i.low, i.high] for name, i in found.items()}


def _versus(measured: Measurement, fingerprint: str) -> dict[str, Any]:
  ranks = Ranks.of(fingerprint, measured.evaluations)
  return {
    name: {
      part: triples(compare(ranks, ranks, part, MODEL, name))
      for part in measured.parts
    }
    for name in measured.baselines
  }


def triples(
  intervals: Mapping[str, bootstrap.Interval],
) -> dict[str, list[float]]:
  """Returns {metric: [difference, low, high]}."""
  return {name: [i.mean, i.low, i.high] for name, i in intervals.items()}


def table(result: Mapping[str, Any]) -> str:
  """The document's numbers as lines of text."""
  names = [m for m in _SHOWN if m in result["metrics"]["test"]]
  width = 40
  lines = [
    f"{'':{width}}" + "".join(f"{name:>10}" for name in names),
  ]

  def line(label: str, values: Mapping[str, int | float]) -> str:
    cells = "".join(f"{values[name]:>10.4f}" for name in names)
    return f"{label:{width}}{cells}"

  for part, values in result["metrics"].items():
    for baseline, parts in result["baselines"].items():
      if baseline != "oracle" and part in parts:
        lines.append(line(f"  {part}: {baseline}", parts[part]))
    lines.append(line(f"* {part}: {result['title']}", values))
    low = {n: result["intervals"][part][n][0] for n in names}
    high = {n: result["intervals"][part][n][1] for n in names}
    lines += [line("      95 % over users, from", low), line("      to", high)]
    # Further forms of a part, such as test_unfiltered, have no slices.
    by_count = result["slices"].get(part, {}).get("item_popularity", {})
    if COLD in by_count:
      unseen, seen = by_count[COLD], of_the_rest(values, by_count[COLD])
      lines.append(line(f"    {unseen['requests']:,} of new items", unseen))
      if seen:
        lines.append(line("    all others", seen))
      chance = by_chance(unseen["items"], [int(n.split("@")[1]) for n in names])
      label = f"    by chance, of {unseen['items']:,} new items alone"
      lines.append(line(label, chance))
    if part in result["baselines"].get("oracle", {}):
      lines.append(
        line(f"  {part}: oracle", result["baselines"]["oracle"][part])
      )
  lines += [f"note: {note}" for note in result["notes"]]
  return "\n".join(lines)


def of_the_rest(
  values: Mapping[str, int | float], part: Mapping[str, int | float]
) -> dict[str, float]:
  """Means over the requests that a slice leaves; {} where it leaves none.

  Args:
    values: means over all requests.
    part: the slice, with its share of them.
  """
  rest = 1 - part["share"]
  if not rest:
    return {}
  return {
    name: (value - part["share"] * part[name]) / rest
    for name, value in values.items()
  }


def comparison_table(against: Mapping[str, Any]) -> str:
  """Lines of text for one entry of the document's "against"."""
  lines = [
    f"minus {against['config']}, seed {against['seed']}, 95 % over users,"
    " paired; one seed each: no verdict over seeds:"
  ]
  for part, metrics in against["differences"].items():
    for name in (m for m in _SHOWN if m in metrics):
      mean, low, high = metrics[name]
      lines.append(
        f"  {part:22}{name:>10}{mean:>+10.4f}  [{low:+.4f}, {high:+.4f}]"
      )
  return "\n".join(lines)
