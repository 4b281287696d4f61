# SPDX-License-Identifier: Apache-2.0
"""The page of a ranker: one HTML file in the style of page.py.

In reading order: what the run is, the verdict, the table of every task against
the training rates, the plots, then one user: history, candidates with their
probabilities, the list by each policy, what the past does to the first of them,
and how it was measured. The document is that of
evaluation/shown_items_results.py. `part` is all of this for the page of a model
that retrieves too.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from html import escape
import re
from typing import Any

from genrec_jax.metrics.auc import gauc_share
from genrec_jax.report.document import (
  Event,
  Part,
  Plot,
  Suggestion,
  detail_html,
  document_html,
  figures_html,
  measured_html,
  verdict_html,
)
from genrec_jax.report.ranking.runs import FLOORS
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


def title_of(result: Mapping[str, Any]) -> str:
  """System and config: what a system is made of, and of what data."""
  system = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", result["system"])
  return f"{system} · {result['config']}"


def _tiles(result: Mapping[str, Any]) -> str:
  tiles = [
    (_number(result["metrics"]["test"][task]["auc"]), f"AUC of {task} on test")
    for task in result["tasks"][:3]
  ]
  tiles.append((f"{result['parameters']:,}", "parameters"))
  body = "".join(
    f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
    for value, text in tiles
  )
  return f'<div class="tiles">{body}</div>'


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
  """By task: floors from worst to best, then the model."""
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
    floors = {n: p["test"][task] for n, p in result["floors"].items()}
    rows += [
      _row(FLOORS.get(name, name), "floor", values, {})
      for name, values in sorted(
        floors.items(), key=lambda f: f[1]["auc"] or 0.0
      )
    ]
    intervals = result["intervals"]["test"][task]
    rows.append(_row(result["system"], "model", model, intervals))
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


def _facts(
  result: Mapping[str, Any], extra: Mapping[str, str]
) -> dict[str, str]:
  minutes, seconds = divmod(round(result["train_seconds"]), 60)
  changed = " with local changes" if result["dirty"] else ""
  return {
    "config": result["config"],
    "data set": result["dataset"],
    "seed": str(result["seed"]),
    "commit": result["commit"] + changed,
    "date": result["date"],
    "device": result["device"],
    "training": f"{minutes} min {seconds} s",
    "measured": f"{result['checkpoint']} checkpoint, step {result['step']:,}",
    "parameters": f"{result['parameters']:,}",
    "users": f"{result['num_users']:,}",
    "items": f"{result['num_items']:,}",
    "sort": result["sort_rule"],
    "split": result["split_rule"],
    "intervals": "95 %, users resampled",
    **_shown_facts(result),
    **extra,
  }


def _shown_facts(result: Mapping[str, Any]) -> dict[str, str]:
  """What only a measurement on shown items has to say."""
  return {
    "impressions": f"{result['num_impressions']['test']:,} of"
    f" {result['num_requests']['test']:,} requests (test)",
    "FLOPs": f"{result['flops_per_impression']['test']:,.0f} per impression",
  }


def _sections(
  result: Mapping[str, Any], plots: Sequence[Plot], shown: RankedFor
) -> str:
  return f"""<h2>Against training rates</h2>
{_table(result)}
<h2>Tasks in detail</h2>
{figures_html(plots)}
{_user(shown, result["tasks"])}"""


def part(
  result: Mapping[str, Any], plots: Sequence[Plot], shown: RankedFor
) -> Part:
  """The same sections, for the page of a model that does more than rank."""
  body = f"""<h2>Ranking of shown items</h2>
{verdict_html(verdict(result))}
{_sections(result, plots, shown)}"""
  return Part(body, _shown_facts(result), result["notes"])


def render(
  result: Mapping[str, Any],
  plots: Sequence[Plot],
  shown: RankedFor,
  facts: Mapping[str, str],
) -> str:
  """The whole page; `facts` are added to what the run itself says."""
  measured = measured_html(
    _facts(result, facts), result["notes"], result["config_values"]
  )
  body = f"""{_tiles(result)}
{_sections(result, plots, shown)}
{measured}"""
  return document_html(title_of(result), result["date"], verdict(result), body)
