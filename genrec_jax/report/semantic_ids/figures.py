# SPDX-License-Identifier: Apache-2.0
"""The plots of a report on item tokens, as SVG text (see figures.py).

    usage        how often each code of a level is taken, most frequent first
    prefixes     distinct prefixes by depth, against the number of items
    purity       how often items of one prefix share a category, by depth
    branching    codes that follow a prefix, mean and most, by level

Each takes parts of what semantic_ids/quality.py returns. A level or a set of
labels has one colour; grey is what chance gives.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context, ticker
from matplotlib.figure import Figure
import numpy as np

from genrec_jax.report.figures import INK, LINE, MODEL, MUTED, STYLE, svg_of

_COLORS = (MODEL, "#0ea5b7", "#7c3aed", "#db2777", "#d08a2e", "#5c6470")
_SIZE = (5.6, 3.5)


def _color(index: int) -> str:
  return _COLORS[index % len(_COLORS)]


def usage(levels: Sequence[Mapping[str, Any]]) -> str:
  """Share of items per code, codes of each level sorted, and an even share."""
  title = "How often codes are taken"
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    for index, level in enumerate(levels):
      count_C = np.array(level["counts"], float)
      axes.plot(
        np.arange(1, len(count_C) + 1) / len(count_C),
        count_C / count_C.sum() * len(count_C),
        color=_color(index),
        label=f"level {index + 1}: {level['used_share']:.0%} used",
      )
    axes.axhline(1, color=MUTED, linewidth=1, linestyle="--")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}"))
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.set_xlabel("codes of the level, most frequent first")
    axes.set_ylabel("items, in even shares")
    axes.legend(loc="upper right")
  return svg_of(figure, title)


def prefixes(depths: Sequence[Mapping[str, Any]], items: int) -> str:
  """Distinct prefixes of each depth; the dashed line is one per item."""
  title = "Distinct prefixes"
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="x", visible=False)
    at = np.arange(len(depths))
    distinct = np.array([depth["distinct"] for depth in depths])
    bars = axes.bar(at, distinct, 0.6, color=MODEL)
    axes.bar_label(bars, [f"{n:,}" for n in distinct], padding=3, fontsize=9.5)
    axes.axhline(items, color=INK, linewidth=1, linestyle="--")
    axes.annotate(
      f"{items:,} items",
      (0, items),
      xytext=(0, 4),
      textcoords="offset points",
      ha="center",
      color=INK,
      fontsize=9.5,
    )
    axes.set_xticks(
      at,
      [f"depth {d['depth']}\nlargest {d['largest_group']:,}" for d in depths],
    )
    axes.set_ylim(0, items * 1.15)
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
  return svg_of(figure, title)


def purity(sets: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
  """Purity by depth (0 = all items); dashed with shuffled labels."""
  title = "Do prefixes follow categories?"
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    for index, (name, rows) in enumerate(sets.items()):
      depth = [row["depth"] for row in rows]
      axes.plot(
        depth,
        [row["purity"] for row in rows],
        color=_color(index),
        marker="o",
        markersize=4,
        label=name,
      )
      axes.plot(
        depth,
        [row["shuffled"] for row in rows],
        "--",
        color=_color(index),
        linewidth=1,
        alpha=0.6,
      )
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_xlabel("leading codes shared")
    axes.set_ylabel("share with the group's category")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.legend(loc="lower right")
  return svg_of(figure, title)


def branching(depths: Sequence[Mapping[str, Any]]) -> str:
  """Codes that follow a prefix: mean and most, by level."""
  title = "Branching of the trie"
  with rc_context(STYLE):
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="x", visible=False)
    at = np.arange(len(depths))
    for offset, key, label, color in (
      (-0.19, "branching_mean", "mean", MODEL),
      (0.19, "branching_max", "most", LINE),
    ):
      value = [depth[key] for depth in depths]
      bars = axes.bar(at + offset, value, 0.36, color=color, label=label)
      axes.bar_label(bars, [f"{v:.3g}" for v in value], padding=3, fontsize=9)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.margins(y=0.15)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}"))
    axes.set_xticks(at, [f"level {d['depth']}" for d in depths])
    axes.set_ylabel("codes")
    axes.legend(loc="upper right")
  return svg_of(figure, title)
