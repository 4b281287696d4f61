# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a model beside other retrievers.

Before everything else the gap profile: recall of the ensemble by segment, and
with the model added. In its own place the recalls at every cut-off, with
intervals, and those of each retriever alone.
"""

from collections.abc import Mapping
from html import escape
import pathlib
from typing import Any

from genrec_jax.metrics.incremental_recall import NAMES
from genrec_jax.report import figures
from genrec_jax.report.document import Part, Plot, figures_html
from genrec_jax.report.figures import Row

_LABELS = {
  "ensemble": "the ensemble",
  "model": "the model alone",
  "union": "both, slots added",
  "fixed": "both, slots replaced",
  "r_inc": "gain, slots added",
  "r_inc_fixed": "gain, slots replaced",
}


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """What the page shows of the section of IncrementalRecall.

  Args:
    workdir: of no use here.
    section: of its document, with the description of the run.
    user: of no use here.
  """
  del workdir, user
  k = section["ks"][0]
  plots = [_plot(kind, rows, k) for kind, rows in section["gap"].items()]
  lead = ""
  if plots:
    lead = f"<h2>Where the ensemble misses</h2>\n{figures_html(plots)}"
  requests = section["num_requests"]["validation"]
  facts = {"gap profile of": f"{requests:,} validation requests"}
  body = f"{_table(section)}\n{_alone(section)}"
  return Part(
    "What it adds to the ensemble", body, facts, section["notes"], lead=lead
  )


def _plot(kind: str, rows: Mapping[str, Mapping[str, Any]], k: int) -> Plot:
  """Recall by segment, of the ensemble and of both."""
  bars = [
    Row(label, role, {name: row[f"{key}@{k}"] for name, row in rows.items()})
    for label, role, key in (
      ("ensemble", "baseline", "ensemble"),
      ("with the model", "model", "union"),
    )
  ]
  counts = [row["requests"] for row in rows.values()]
  title = f"Recall@{k} by {kind}"
  svg = figures.slices(bars, list(rows), counts, f"recall@{k}", title)
  worst = min(rows, key=lambda name: rows[name][f"ensemble@{k}"])
  found = rows[worst][f"ensemble@{k}"]
  said = f"The ensemble finds least, {found:.1%}, where it is: {worst}."
  return Plot(svg, said, wide=len(rows) > 4)


def _table(section: Mapping[str, Any]) -> str:
  head = "".join(
    f"<th>{escape(part)}, K = {k}</th>"
    for part in section["metrics"]
    for k in section["ks"]
  )
  rows = ""
  for name in NAMES:
    cells = ""
    for part, values in section["metrics"].items():
      for k in section["ks"]:
        low, high = section["intervals"][part][f"{name}@{k}"]
        cells += (
          f'<td>{values[f"{name}@{k}"]:.4f}<span class="interval">{low:.4f} to'
          f" {high:.4f}</span></td>"
        )
    rows += f"<tr><td>{escape(_LABELS[name])}</td>{cells}</tr>"
  return _card(head, rows)


def _alone(section: Mapping[str, Any]) -> str:
  """Recall of each retriever."""
  head, rows = "", ""
  for name, parts in section["retrievers"].items():
    names = [(p, n) for p, values in parts.items() for n in values]
    head = "".join(f"<th>{escape(f'{p}, {n}')}</th>" for p, n in names)
    cells = "".join(f"<td>{parts[p][n]:.4f}</td>" for p, n in names)
    rows += f"<tr><td>{escape(name)}</td>{cells}</tr>"
  return f"<h3>Each retriever alone</h3>{_card(head, rows)}"


def _card(head: str, rows: str) -> str:
  return (
    f'<div class="card"><table><thead><tr><th></th>{head}</tr></thead>'
    f"<tbody>{rows}</tbody></table></div>"
  )
