# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a served list.

In reading order: one sentence of what is served and which stage loses most, the
plots of served_figures.py, the recall of every stage, whose hits are whose by
set of members, how many targets any two members share, and a few lists with the
probability of each action.
"""

from collections.abc import Mapping, Sequence
from html import escape
import pathlib
from typing import Any

from genrec_jax.evaluation.served_list_results import recall_rows, said
from genrec_jax.report.document import Part, Plot, figures_html
from genrec_jax.report.retrieval import served_figures

_LOST = ("order", "join", "missed", "hidden")
_MOST_SETS = 12


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """What the page shows of the section of ServedList.

  Args:
    workdir: of no use here.
    section: of its document, with the description of the run.
    user: of no use here.
  """
  del workdir, user
  members = list(section["members"])
  k = 2 if 2 in section["ks"] else section["ks"][0]
  last = max(section["ks"])
  ks, rows = recall_rows(section)
  bars = [row for row in rows if row[0] != "all members' lists"]
  plots = [
    Plot(
      served_figures.stage_shares(section["stages"]),
      "Members propose, a rule joins their lists, the order decides: every"
      " request ends in one of these.",
    ),
    Plot(
      served_figures.recall_bars(
        section["ks"], [(n, c[: len(section["ks"])]) for n, c in bars]
      ),
      "Each member's own list, the joined one, and the one that is served.",
    ),
    Plot(
      served_figures.member_hits(members, section["hits"], last),
      f"Targets among the {section['depth']} places of each member's list.",
    ),
  ]
  body = "\n".join(
    [
      f'<div class="card"><p>{escape(_sentence(section, k))}</p></div>',
      figures_html(plots),
      _table(
        ["", *(f"recall@{k}" for k in ks)],
        [[label, *map(_share, cells)] for label, cells in rows],
      ),
      "<h3>Whose hits are whose</h3>",
      _hits(section, last),
      _overlap(section, members),
      *map(_example, section.get("examples", ())),
    ]
  )
  low, high = section["intervals"][f"recall@{k}"]
  facts = {
    "served list of": f"{section['requests']:,} {section['part']} requests",
    "members": ", ".join(f"{n}: {m}" for n, m in section["members"].items()),
    "joined by": f"{section['rule']}, {section['candidates']} candidates",
    "ordered by": " ".join(
      filter(None, (section["ranker"] or "the joined list", section["weights"]))
    ),
    **_assumed(section),
  }
  tiles = (
    (
      f"{section['recall']['served'][f'recall@{k}']:.2%}",
      f"recall@{k} of the served list ({low:.2%} to {high:.2%} over users)",
    ),
    (
      f"{section['recall']['union']['recall']:.2%}",
      "of targets are in any member's list",
    ),
  )
  title = "The list that is served"
  return Part(title, body, facts, section["notes"], tiles=tiles)


def _sentence(section: Mapping[str, Any], k: int) -> str:
  found = section["stages"][str(k)]
  worst = max(_LOST, key=found.__getitem__)
  label = served_figures.STAGES[worst][0]
  return (
    f"{found['served']:.2%} of targets are among the first {k} of the served"
    f" list. Most others are {label}: {found[worst]:.2%} of all."
  )


def _hits(section: Mapping[str, Any], k: int) -> str:
  rows = [
    [
      said(row["members"]),
      f"{row['proposed']:,}",
      *(f"{count:,}" for count in row["served"].values()),
    ]
    for row in section["hits"][:_MOST_SETS]
  ]
  head = ["in the lists of", "targets"]
  head += [f"served in the first {k}" for k in section["ks"]]
  more = len(section["hits"]) - _MOST_SETS
  note = f"<p>{more:,} further sets have fewer.</p>" if more > 0 else ""
  return _table(head, rows) + note


def _overlap(section: Mapping[str, Any], members: Sequence[str]) -> str:
  """Of the targets of each row's member, the share that the column's has."""
  if len(members) < 2:
    return ""
  rows = []
  for a in members:
    own = section["overlap"][a][a]
    shares = [
      f"{section['overlap'][a][b] / own:.1%}" if own else "-" for b in members
    ]
    rows.append([a, f"{own:,}", *shares])
  head = ["of the targets of", "targets", *(f"{b} has" for b in members)]
  return _table(head, rows)


def _assumed(section: Mapping[str, Any]) -> dict[str, str]:
  """How a list is made place by place; nothing where it is not."""
  rule = section.get("assume")
  return {"assumed of what is placed": rule} if rule else {}


def _example(example: Mapping[str, Any]) -> str:
  """One list: what is placed, its value and its probabilities."""
  tasks = [*example["items"][0]["probabilities"]] if example["items"] else []
  rows = [
    [
      item["title"],
      f"{item['value']:.4f}",
      *(f"{item['probabilities'][task]:.4f}" for task in tasks),
    ]
    for item in example["items"]
  ]
  head = ["item", "value", *(f"P({task})" for task in tasks)]
  said = (
    f"The list of user number {example['user']}, who took {example['next']}"
  )
  return f"<h3>{escape(said)}</h3>{_table(head, rows)}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  head = "".join(f"<th>{escape(name)}</th>" for name in names)
  body = "".join(
    f"<tr>{''.join(f'<td>{escape(v)}</td>' for v in row)}</tr>" for row in rows
  )
  return (
    f'<div class="card"><table><thead><tr>{head}</tr></thead>'
    f"<tbody>{body}</tbody></table></div>"
  )


def _share(value: float | None) -> str:
  return "" if value is None else f"{value:.4f}"
