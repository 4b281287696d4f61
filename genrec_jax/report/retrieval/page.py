# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a run that finds items.

In reading order: one sentence of verdict, the table against baselines and
oracle, the plots, ten recommendations for one user beside the history they
follow from. The plots are SVG from figures.py. Everything that comes from data
(titles, ids, names) is escaped.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from html import escape

from genrec_jax.report.document import (
  ONE_SEED,
  Event,
  Part,
  Plot,
  Suggestion,
  Verdict,
  detail_html,
  figures_html,
)
from genrec_jax.report.runs import (
  BASELINE_LABELS,
  VARIANTS,
  RetrievalRun,
  best_baseline,
  gap_closed,
)

_METRICS = ("hr@10", "ndcg@10", "mrr@10", "hr@50")


@dataclasses.dataclass(frozen=True)
class Example:
  """What is recommended to one user: history oldest first, best item first."""

  user_id: str
  history: Sequence[Event]
  suggestions: Sequence[Suggestion]


def verdict(run: RetrievalRun) -> Verdict:
  """Where this training stands to the best baseline by NDCG@10 of test.

  Won where the interval over users is above 0; of other seeds nothing is said.
  """
  metrics = run.metrics["test"]
  name, baseline = best_baseline(run, "ndcg@10")
  label = BASELINE_LABELS.get(name, name)
  before = (
    f"For {metrics['hr@10']:.1%} of requests the next item is among the first"
    f" ten of {run.num_items:,}. "
  )
  if metrics["ndcg@10"] <= baseline:
    return Verdict(
      before,
      f"That is not above {label}",
      f", the best baseline: NDCG@10 {metrics['ndcg@10']:.4f} against"
      f" {baseline:.4f}. {ONE_SEED}",
      won=False,
    )
  gap = gap_closed(run, "ndcg@10")
  way = f", {gap:.0%} of the way to the oracle" if gap is not None else ""
  times = f"{metrics['ndcg@10'] / baseline:.2f} times" if baseline else "above"
  mean, low, high = run.versus[name]["test"]["ndcg@10"]
  return Verdict(
    before + "Its NDCG@10 is ",
    f"{times} that of {label}",
    f", the best baseline{way} (difference {mean:+.4f}, 95 % interval over"
    f" users {low:+.4f} to {high:+.4f}, paired). {ONE_SEED}",
    won=low > 0,
  )


def _tiles(run: RetrievalRun) -> tuple[tuple[str, str], ...]:
  metrics = run.metrics["test"]
  name, baseline = best_baseline(run, "ndcg@10")
  label = BASELINE_LABELS.get(name, name)
  gain = metrics["ndcg@10"] / baseline - 1 if baseline else float("inf")
  gap = gap_closed(run, "ndcg@10")
  last = (
    (f"{gap:.0%}", f"of the gap from {label} to the oracle closed")
    if gap is not None
    else (f"{run.parameters:,}", "parameters")
  )
  return (
    (f"{metrics['ndcg@10']:.4f}", "NDCG@10 on test"),
    (f"{metrics['hr@10']:.1%}", "HR@10 on test"),
    (f"{gain:+.0%}", f"NDCG@10 over {label}"),
    last,
  )


def _table_row(
  label: str,
  kind: str,
  values: Mapping[str, float],
  intervals: Mapping[str, Sequence[float]],
  largest: float,
) -> str:
  cells = []
  # A run that ranks fewer places than a cut-off has no such metric.
  for metric in _METRICS:
    if metric not in values:
      cells.append("<td>-</td>")
      continue
    band = intervals.get(metric)
    text = (
      f'<span class="interval">{band[0]:.4f} to {band[1]:.4f}</span>'
      if band is not None
      else ""
    )
    cells.append(f"<td>{values[metric]:.4f}{text}</td>")
  width = 100 * values["ndcg@10"] / largest if largest else 0
  bar = f'<i style="width:{width:.1f}%"></i>' if largest else ""
  return (
    f'<tr class="{kind}"><td>{escape(label)}</td>{"".join(cells)}'
    f'<td class="bar">{bar}</td></tr>'
  )


def _table(run: RetrievalRun) -> str:
  """Baselines from worst to best, the model, its variants, the oracle.

  Bars show NDCG@10. Variants are other questions to the same model: they have
  no bar, because the other rows do not answer them.
  """
  baselines = {
    name: parts["test"]
    for name, parts in run.baselines.items()
    if "test" in parts
  }
  largest = max(
    values["ndcg@10"] for values in [*baselines.values(), run.metrics["test"]]
  )
  oracle = baselines.pop("oracle", None)
  rows = [
    _table_row(BASELINE_LABELS.get(name, name), "baseline", values, {}, largest)
    for name, values in sorted(baselines.items(), key=lambda f: f[1]["ndcg@10"])
  ]
  rows.append(
    _table_row(
      run.title,
      "model",
      run.metrics["test"],
      run.intervals.get("test", {}),
      largest,
    )
  )
  rows += [
    _table_row(f"{run.title}, {text}", "variant", run.metrics[part], {}, 0.0)
    for part, text in VARIANTS.items()
    if part in run.metrics
  ]
  if oracle is not None:
    rows.append(
      _table_row(BASELINE_LABELS["oracle"], "oracle", oracle, {}, largest)
    )
  header = "".join(f"<th>{metric.upper()}</th>" for metric in _METRICS)
  return (
    '<div class="card"><table><thead><tr><th></th>'
    f'{header}<th style="text-align:left">NDCG@10</th></tr></thead>'
    f"<tbody>{''.join(rows)}</tbody></table></div>"
  )


def _example(example: Example) -> str:
  """History on the left, newest on top; recommendations on the right."""
  history = "".join(
    f"<li><span>{escape(event.title)}{detail_html(event.detail)}</span>"
    f'<span class="when">{escape(event.when)}</span></li>'
    for event in reversed(example.history)
  )
  scores = [suggestion.score for suggestion in example.suggestions]
  low, high = min(scores, default=0.0), max(scores, default=0.0)
  # Scores have no zero: the bar runs from 20 % (the last) to 100 % (the first).
  spread = (high - low) or 1.0
  suggestions = "".join(
    f'<li><span class="place">{place}</span>'
    f"<span>{escape(s.title)}{detail_html(s.detail)}</span>"
    f'<span class="score"><i style="width:'
    f'{20 + 80 * (s.score - low) / spread:.0f}%"></i></span>'
    f'<span class="number">{s.score:.4f}</span></li>'
    for place, s in enumerate(example.suggestions, 1)
  )
  suggestions = f"<ol>{suggestions}</ol>"
  if not example.suggestions:
    suggestions = "<p>Nothing: this user has had every item.</p>"
  return (
    '<div class="example"><div class="card history">'
    f"<h3>Last {len(example.history)} events of user"
    f" {escape(example.user_id)}, newest first</h3><ol>{history}</ol></div>"
    '<div class="card recommended"><h3>Recommended next, with scores</h3>'
    f"{suggestions}</div></div>"
  )


def part(
  run: RetrievalRun, plots: Sequence[Plot], example: Example | None
) -> Part:
  """The sections of a run that finds items."""
  shown = (
    f"<h2>What it recommends</h2>{_example(example)}"
    if example is not None
    else ""
  )
  body = f"""<h2>Against baselines and oracle</h2>
{_table(run)}
<h2>In detail</h2>
{figures_html(plots)}
{shown}"""
  facts = {
    "candidates": "every item; the user's history is hidden"
    if run.hides_history
    else "every item, the user's history included",
    "ties": "count against the model",
  }
  return Part(
    "Finding the next item", body, facts, run.notes, verdict(run), _tiles(run)
  )
