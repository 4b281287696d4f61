# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a run that ranks shown items.

In reading order: the verdict, the table of every task against the training
rates, the plots, then one user: history, candidates with their probabilities,
the list by each policy, and what the past does to the first of them.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from html import escape
from typing import Any

from genrec_jax.metrics.auc import gauc_share
from genrec_jax.report.document import (
  Event,
  Part,
  Plot,
  Suggestion,
  detail_html,
  figures_html,
)
from genrec_jax.report.ranking.runs import BASELINES
from genrec_jax.report.ranking.verdict import verdict

_METRICS = ("auc", "gauc", "ne", "log_loss", "ece")
_NAMES = {
  "auc": "AUC",
  "gauc": "GAUC",
  "ne": "NE",
  "log_loss": "log loss",
  "ece": "ECE",
}


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One scored item: its value, and a probability per task."""

  title: str
  detail: str
  value: float
  probabilities: Sequence[float]


@dataclasses.dataclass(frozen=True)
class RankedFor:
  """One user: history oldest first; candidates and lists best first.

  Attributes:
    user_id: whose.
    history: last events, with what came of them as their detail.
    candidates: by value.
    weights: what the value is, in words.
    lists: how a list is made -> its items, by the value they were placed by.
    reading: plots of what the past does to the first candidate.
  """

  user_id: str
  history: Sequence[Event]
  candidates: Sequence[Candidate]
  weights: str
  lists: Mapping[str, Sequence[Suggestion]]
  reading: Sequence[Plot]


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  tiles = [
    (_number(result["metrics"]["test"][task]["auc"]), f"AUC of {task} on test")
    for task in result["tasks"][:3]
  ]
  return [*tiles, (f"{result['parameters']:,}", "parameters")]


def _number(value: float | None) -> str:
  return "not defined" if value is None else f"{value:.4f}"


def _row(
  label: str,
  kind: str,
  values: Mapping[str, float | None],
  intervals: Mapping[str, Sequence[float]],
) -> str:
  cells = ""
  for metric in _METRICS:
    band = intervals.get(metric)
    text = (
      f'<span class="interval">{band[0]:.4f} to {band[1]:.4f}</span>'
      if band is not None
      else ""
    )
    cells += f"<td>{_number(values.get(metric))}{text}</td>"
  return f'<tr class="{kind}"><td>{escape(label)}</td>{cells}</tr>'


def _table(result: Mapping[str, Any]) -> str:
  """By task: baselines from worst to best, then the model."""
  rows = []
  for task in result["tasks"]:
    model = result["metrics"]["test"][task]
    rate = model["base_rate"]
    rows.append(
      f'<tr class="task"><td colspan="{1 + len(_METRICS)}">{escape(task)}'
      f", done on {rate:.2%} of the shown items; GAUC of"
      f" {gauc_share(model):.1%} of them, those of users with both outcomes"
      "</td></tr>"
    )
    baselines = {n: p["test"][task] for n, p in result["baselines"].items()}
    rows += [
      _row(BASELINES.get(name, name), "baseline", values, {})
      for name, values in sorted(
        baselines.items(), key=lambda f: f[1]["auc"] or 0.0
      )
    ]
    intervals = result["intervals"]["test"][task]
    rows.append(_row(result["title"], "model", model, intervals))
  header = "".join(f"<th>{_NAMES[metric]}</th>" for metric in _METRICS)
  return (
    f'<div class="card"><table><thead><tr><th></th>{header}</tr></thead>'
    f"<tbody>{''.join(rows)}</tbody></table></div>"
  )


def _user(shown: RankedFor, tasks: Sequence[str]) -> str:
  history = "".join(
    f"<li><span>{escape(event.title)}{detail_html(event.detail)}</span>"
    f'<span class="when">{escape(event.when)}</span></li>'
    for event in reversed(shown.history)
  )
  heads = "".join(f"<th>{escape(name)}</th>" for name in ("value", *tasks))
  rows = "".join(
    f"<tr><td>{escape(c.title)}{detail_html(c.detail)}</td><td>{c.value:.4f}</td>"
    + "".join(f"<td>{p:.4f}</td>" for p in c.probabilities)
    + "</tr>"
    for c in shown.candidates
  )
  lists = "".join(
    f'<div class="card"><h3>{escape(name)}</h3><ol>'
    + "".join(
      f'<li><span class="place">{place}</span>'
      f"<span>{escape(item.title)}{detail_html(item.detail)}</span>"
      f'<span class="number">{item.score:.4f}</span></li>'
      for place, item in enumerate(items, 1)
    )
    + "</ol></div>"
    for name, items in shown.lists.items()
  )
  return f"""<h2>One user</h2>
<div class="example"><div class="card history">
<h3>Last {len(shown.history)} events of user {escape(shown.user_id)}, newest
first</h3><ol>{history}</ol></div>
<div class="card"><h3>Candidates by value, {escape(shown.weights)}</h3>
<table class="plain"><thead><tr><th></th>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div></div>
<h2>The list, by how it is made</h2>
<div class="policies">{lists}</div>
<h2>What the past does</h2>
{figures_html(shown.reading)}"""


def _shown_facts(result: Mapping[str, Any]) -> dict[str, str]:
  """What only a measurement on shown items has to say."""
  return {
    "impressions": f"{result['num_impressions']['test']:,} of"
    f" {result['num_requests']['test']:,} requests (test)",
    "FLOPs": f"{result['flops_per_impression']['test']:,.0f} per impression",
  }


def part(
  result: Mapping[str, Any], plots: Sequence[Plot], shown: RankedFor
) -> Part:
  """The sections of a run that ranks shown items."""
  body = f"""<h2>Against training rates</h2>
{_table(result)}
<h2>Tasks in detail</h2>
{figures_html(plots)}
{_user(shown, result["tasks"])}"""
  return Part(
    "Ranking of shown items",
    body,
    _shown_facts(result),
    result["notes"],
    verdict(result),
    _tiles(result),
  )
