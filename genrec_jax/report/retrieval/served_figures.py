# SPDX-License-Identifier: Apache-2.0
"""The plots of a served list, as SVG text (see figures.py).

    stage_shares   where requests end, by cut-off: served, or lost by a stage
    member_hits    targets of each member: found by it alone, and by others too
    recall_bars    recall of members, joined and served list, by cut-off

Each takes parts of the section of evaluation/served_list_results.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context, ticker
from matplotlib.figure import Figure
import numpy as np

from genrec_jax.report.figures import INK, LINE, MODEL, MUTED, STYLE, svg_of
from genrec_jax.report.retrieval import stage_figures

_SIZE = (5.6, 3.5)
# What each stage is called in a plot, and its colour; found ones first.
STAGES = {
  "served": ("served", MODEL),
  "order": ("lost by the order", "#d08a2e"),
  "join": ("lost by the join", "#b45c8c"),
  "missed": ("in no member's list", "#98a2b3"),
  "hidden": ("hidden: in the history", LINE),
}
_MEMBERS = ("#98a2b3", "#d08a2e", "#b45c8c", "#5c6470", "#7c3aed", "#db2777")


def stage_shares(stages: Mapping[str, Mapping[str, float]]) -> str:
  """Stacked bars: every request ends in one stage."""
  title = "Where targets are served and lost"
  return stage_figures.stage_shares(stages, title, STAGES)


def member_hits(
  members: Sequence[str], hits: Sequence[Mapping[str, Any]], k: int
) -> str:
  """Of each member's targets: in its list alone, in others' too, and served."""
  title = "Whose hits are whose"
  alone, shared, served = (np.zeros(len(members)) for _ in range(3))
  for row in hits:
    for name in row["members"]:
      place = list(members).index(name)
      only = len(row["members"]) == 1
      (alone if only else shared)[place] += row["proposed"]
      served[place] += row["served"][str(k)]
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    at = np.arange(len(members))[::-1]
    axes.barh(at, alone, 0.6, color=MODEL, label="in its list alone")
    axes.barh(
      at, shared, 0.6, alone, color="#9db4ee", label="in others' lists too"
    )
    axes.plot(
      served,
      at,
      linestyle="",
      marker="|",
      markersize=18,
      color=INK,
      label=f"of these served in the first {k}",
    )
    axes.set_yticks(at, members)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("targets")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
  return svg_of(figure, title)


def recall_bars(
  ks: Sequence[int], rows: Sequence[tuple[str, Sequence[float | None]]]
) -> str:
  """Groups of bars by cut-off: members, the joined list, the served one."""
  title = "Recall of each stage"
  last = {"joined": MUTED, "served": MODEL}
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="x", visible=False)
    width = 0.8 / len(rows)
    for number, (label, cells) in enumerate(rows):
      at = np.arange(len(ks)) + (number - (len(rows) - 1) / 2) * width
      color = last.get(label, _MEMBERS[number % len(_MEMBERS)])
      values = [np.nan if cell is None else cell for cell in cells]
      axes.bar(at, values, width * 0.92, color=color, label=label)
    axes.set_xticks(np.arange(len(ks)), [f"first {k}" for k in ks])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.set_ylabel("recall")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
  return svg_of(figure, title)
