# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a search by beams and vectors.

In reading order: one sentence of where targets are lost, the plots of
stage_figures.py, a table of the lists at every cut-off, and the table of other
options that were tried on validation users, where there were any.
"""

from collections.abc import Mapping, Sequence
from html import escape
import pathlib
from typing import Any

from genrec_jax.report.document import Part, Plot, figures_html
from genrec_jax.report.retrieval import stage_figures

_LISTS = {
  "distinct_ids": "distinct IDs a list",
  "distinct_ids_of_all": "IDs in all lists",
  "coverage": "coverage",
  "top_1_percent": "share of the top 1 % of items",
  "filled": "places filled",
}


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """What the page shows of the section of SearchStages.

  Args:
    workdir: of no use here.
    section: of its document, with the description of the run.
    user: of no use here.
  """
  del workdir, user
  k = section["ks"][0]
  plots = [
    Plot(
      stage_figures.stage_shares(section["stages"]),
      "Beams propose, vectors order: every request ends in one of these.",
    ),
    Plot(
      stage_figures.ceiling(section["ceiling"], section["stages"], [k]),
      "No order of the proposed items can find more than this.",
    ),
    Plot(
      stage_figures.score_shares(section["scores"]),
      f"Scores in the first {max(section['ks'])} places; where the two curves"
      " coincide, a score says nothing of a hit.",
    ),
    Plot(
      stage_figures.cluster_sizes(section["clusters"]),
      _clusters_said(section["clusters"]),
    ),
  ]
  body = "\n".join(
    [
      f'<div class="card"><p>{escape(_said(section, k))}</p></div>',
      figures_html(plots),
      _lists_table(section),
      _grid_table(section),
    ]
  )
  facts = {"stages of": f"{section['requests']:,} {section['part']} requests"}
  return Part("How the search found it", body, facts, ())


def _said(section: Mapping[str, Any], k: int) -> str:
  found = section["stages"][str(k)]
  hit = found["beam"] + found["cold"]
  return (
    f"{hit:.1%} of targets are among the first {k}. The"
    f" {section['num_beams']} beams lose {found['lost']:.1%}; the order of"
    f" vectors loses {found['order']:.1%} of what was proposed to it."
  )


def _clusters_said(clusters: Mapping[str, Any]) -> str:
  return (
    f"{clusters['items']:,} items share {clusters['ids']:,} IDs of"
    f" {clusters['possible']:,}, {clusters['mean']:.1f} each; the largest"
    f" cluster has {clusters['largest']:,}."
  )


def _lists_table(section: Mapping[str, Any]) -> str:
  rows = [
    [f"first {k}", *(_cell(section["lists"][str(k)][n]) for n in _LISTS)]
    for k in section["ks"]
  ]
  return _table(["", *_LISTS.values()], rows)


def _grid_table(section: Mapping[str, Any]) -> str:
  rows = section["grid"]
  if not rows:
    return ""
  names = [*rows[0]["options"], *rows[0]["metrics"]]
  values = [
    [_cell(v) for v in (*row["options"].values(), *row["metrics"].values())]
    for row in rows
  ]
  return (
    "<h3>Other options of the search, without training: at most"
    f" {section['grid_users']:,} validation users</h3>{_table(names, values)}"
  )


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  head = "".join(f"<th>{escape(name)}</th>" for name in names)
  body = "".join(
    f"<tr>{''.join(f'<td>{escape(v)}</td>' for v in row)}</tr>" for row in rows
  )
  return (
    f'<div class="card"><table><thead><tr>{head}</tr></thead>'
    f"<tbody>{body}</tbody></table></div>"
  )


def _cell(value: Any) -> str:
  if value is None:
    return "-"
  if isinstance(value, float):
    return f"{value:.4f}"
  return f"{value:,}" if isinstance(value, int) else str(value)
