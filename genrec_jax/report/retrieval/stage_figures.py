# SPDX-License-Identifier: Apache-2.0
"""The plots of a search by beams and vectors, as SVG text (see figures.py).

    cluster_sizes   items by how many share their ID
    stage_shares    where requests end, by cut-off: found, or lost by a stage
    score_shares    scores of targets against those of the other places
    ceiling         targets whose codes are among the first M beams

Each takes parts of the section of evaluation/search_stages_results.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context, ticker
from matplotlib.figure import Figure
import numpy as np

from genrec_jax.report.figures import INK, LINE, MODEL, MUTED, STYLE, svg_of

_SIZE = (5.6, 3.5)
# What each stage is called in a plot, and its colour; found ones first.
STAGES = {
  "beam": ("found, proposed by a beam", MODEL),
  "cold": ("found, as a cold item", "#0ea5b7"),
  "order": ("lost by the order of vectors", "#d08a2e"),
  "lost": ("lost by the beams", "#98a2b3"),
  "hidden": ("hidden: in the history", LINE),
}


def cluster_sizes(clusters: Mapping[str, Any]) -> str:
  """Items by how many items share their ID."""
  title = "Items by the size of their cluster"
  bins = clusters["bins"]
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="x", visible=False)
    at = np.arange(len(bins))
    bars = axes.bar(at, [b["items"] for b in bins], 0.8, color=MODEL)
    axes.bar_label(
      bars, [f"{b['ids']:,}" for b in bins], padding=3, fontsize=9, color=MUTED
    )
    axes.set_xticks(at, [_range(b) for b in bins])
    axes.margins(y=0.12)
    axes.set_xlabel("items that share all codes (above the bars: IDs)")
    axes.set_ylabel("items")
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
  return svg_of(figure, title)


def _range(bin_: Mapping[str, int]) -> str:
  low, high = bin_["from"], bin_["to"]
  return f"{low}" if low == high else f"{low}-{high}"


def stage_shares(
  stages: Mapping[str, Mapping[str, float]],
  title: str = "Where targets are found and lost",
  shown: Mapping[str, tuple[str, str]] | None = None,
) -> str:
  """Stacked bars: every request ends in one stage.

  Args:
    stages: {cut-off: {stage: share of requests}}.
    title: of the plot.
    shown: label and colour of each stage, in order; None = STAGES.
  """
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    at = np.arange(len(stages))[::-1]
    left = np.zeros(len(stages))
    for name, (label, color) in (shown or STAGES).items():
      share = np.array([found[name] for found in stages.values()])
      if share.any():
        axes.barh(at, share, 0.6, left, color=color, label=label)
      left += share
    axes.set_yticks(at, [f"first {k}" for k in stages])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.set_xlabel("share of test requests")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
  return svg_of(figure, title)


def score_shares(scores: Mapping[str, Any]) -> str:
  """Shares of scores in bins, of each kind of place by itself."""
  title = "Scores of targets and of other places"
  edges = np.array(scores["edges"])
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    for name, label, color in (
      ("hits", "the target", MODEL),
      ("others", "all other places", MUTED),
    ):
      count = np.array(scores[name]["bins"], float)
      if count.sum():
        axes.stairs(
          count / count.sum(),
          edges,
          color=color,
          label=f"{label}: {scores[name]['count']:,}",
          linewidth=1.6,
        )
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.set_xlabel("score")
    axes.set_ylabel("share of its places")
    axes.legend(loc="upper left")
  return svg_of(figure, title)


def ceiling(
  reached: Mapping[str, float],
  stages: Mapping[str, Mapping[str, float]],
  ks: Sequence[int],
) -> str:
  """What the beams reach; dashed: what the lists have of it."""
  title = "Ceiling of the beams"
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    beams = [int(m) for m in reached]
    axes.plot(beams, list(reached.values()), color=MODEL, marker="o")
    for k in ks:
      share = stages[str(k)]["beam"]
      axes.axhline(share, color=INK, linewidth=1, linestyle="--")
      axes.annotate(
        f"in the first {k}",
        (beams[-1], share),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        color=INK,
        fontsize=9,
      )
    axes.set_xscale("log")
    axes.set_xticks(beams, [f"{m}" for m in beams])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.set_xlabel("beams M")
    axes.set_ylabel("targets whose codes are among them")
  return svg_of(figure, title)
