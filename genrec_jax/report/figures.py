# SPDX-License-Identifier: Apache-2.0
"""The plots of a report, as SVG text for a page or beside a Markdown page.

    learning_curve   loss per step, and the validation metric that chose
    metric_at_k      HR@K or NDCG@K of a model against its baselines and oracle
    slices           a metric by groups of requests, with intervals
    rank_curve       share of targets found within the first r places, all r

Every function takes plain numbers and returns the text of one `<svg>` element:
deterministic (no date, fixed ids), with text as text, so that it can be read
aloud and searched. One colour means one thing everywhere: the model is blue,
most popular grey, item-kNN amber, the oracle (the true model of simulated
data) green.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from html import escape
import io
import re

from jaxtyping import Float, Int
from matplotlib import rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

MODEL, ORACLE, INK, MUTED, LINE = (
  "#1d4ed8",
  "#0f8a5f",
  "#1c2330",
  "#667085",
  "#e4e7ec",
)
_PALETTES = {
  "model": (MODEL, "#0ea5b7", "#7c3aed", "#db2777"),
  "baseline": ("#98a2b3", "#b45c8c", "#5c6470"),
  "oracle": (ORACLE,),
  "published": (MUTED,),
}
_OWN_COLORS = {"most popular": "#98a2b3", "item-kNN": "#d08a2e"}
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial"
STYLE = {
  "svg.fonttype": "none",
  "font.size": 10,
  "axes.edgecolor": LINE,
  "axes.labelcolor": MUTED,
  "axes.titlecolor": INK,
  "axes.titlesize": 11,
  "axes.titleweight": "bold",
  "axes.titlelocation": "left",
  "axes.titlepad": 10,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": LINE,
  "grid.linewidth": 0.8,
  "xtick.color": MUTED,
  "ytick.color": MUTED,
  "xtick.major.size": 0,
  "ytick.major.size": 0,
  "xtick.minor.size": 0,
  "ytick.minor.size": 0,
  "text.color": INK,
  "legend.frameon": False,
  "legend.fontsize": 9.5,
  "lines.linewidth": 2.0,
  "figure.constrained_layout.use": True,
}


@dataclasses.dataclass(frozen=True)
class Row:
  """One method in a plot: its name, its role and its values.

  Attributes:
    label: as it stands in the plot.
    role: 'model', 'baseline', 'oracle' or 'published'.
    values: {metric name such as 'hr@10': value}.
    intervals: {metric name: (low, high)}, 95 %, where known.
  """

  label: str
  role: str
  values: Mapping[str, float]
  intervals: Mapping[str, Sequence[float]] = dataclasses.field(
    default_factory=dict
  )


def colors(rows: Sequence[Row]) -> list[str]:
  """The colour of each row: its label's own, or by role and order."""
  seen: dict[str, int] = {}
  found = []
  for row in rows:
    palette = _PALETTES[row.role]
    place = seen.get(row.role, 0)
    seen[row.role] = place + 1
    found.append(_OWN_COLORS.get(row.label, palette[place % len(palette)]))
  return found


def svg_of(figure: Figure, title: str) -> str:
  """The figure as one svg element with a title for readers of the text."""
  buffer = io.StringIO()
  with rc_context({**STYLE, "svg.hashsalt": title}):
    figure.savefig(
      buffer,
      format="svg",
      transparent=True,
      metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
  text = buffer.getvalue()
  text = text[text.index("<svg") :].replace("'DejaVu Sans'", _FONTS)
  # A namespace of its own for ids: several figures share one page.
  prefix = re.sub(r"\W+", "-", title.lower()).strip("-")
  text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
  return text.replace(
    "<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1
  )


def _percent(axis) -> None:
  axis.set_major_formatter(ticker.PercentFormatter(1))


def learning_curve(
  steps_N: Int[np.ndarray, "N"],
  loss_N: Float[np.ndarray, "N"],
  eval_steps_M: Int[np.ndarray, "M"],
  value_M: Float[np.ndarray, "M"],
  metric: str,
  kept: int,
  *,
  title: str = "Learning curve",
  from_zero: bool = True,
) -> str:
  """Training loss (left) and the validation metric (right), by step.

  The value of the step whose parameters were `kept` is marked, where there is
  one: it need not be the best, since training may watch another metric. One
  without a meaningful zero, such as AUC, is drawn `from_zero=False`.
  """
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.plot(steps_N, loss_N, color=MUTED, linewidth=1.3)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    if len(eval_steps_M):
      right = axes.twinx()
      right.grid(False)
      right.plot(eval_steps_M, value_M, color=MODEL, marker="o", markersize=3)
      right.set_ylabel(f"validation {metric.upper()}", color=MODEL)
      right.tick_params(axis="y", labelcolor=MODEL)
      low = 0.0 if from_zero else float(np.min(value_M))
      span = float(np.max(value_M)) - low
      if not from_zero:
        span = max(span, 0.01)
      bottom = low if from_zero else low - 0.12 * span
      right.set_ylim(bottom=bottom, top=low + span * 1.18 + 1e-9)
      for place in np.flatnonzero(eval_steps_M == kept).tolist():
        _ring(right, eval_steps_M, value_M, place)
  return svg_of(figure, title)


def _ring(axes: Axes, steps_M, value_M, place: int) -> None:
  """Marks one point of a line, and says its value."""
  at = (steps_M[place], value_M[place])
  axes.plot(
    *at,
    marker="o",
    markersize=9,
    markerfacecolor="white",
    markeredgecolor=MODEL,
    markeredgewidth=2,
  )
  word = "best" if value_M[place] == np.max(value_M) else "kept"
  axes.annotate(
    f"{word} {value_M[place]:.4f}",
    at,
    xytext=(0, 9),
    textcoords="offset points",
    ha="right" if place >= (len(value_M) - 1) / 2 else "left",
    color=MODEL,
    fontsize=9.5,
  )


def _line_labels(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
  """Names beside the right ends of lines, moved apart where they collide."""
  low, high = axes.get_ylim()
  gap = (high - low) * 0.075
  ends = sorted(ends)
  y_N = np.array([y for y, _, _ in ends])
  for i in range(1, len(y_N)):
    y_N[i] = max(y_N[i], y_N[i - 1] + gap)
  # What was pushed above the frame goes back down, and takes others along.
  y_N[-1] = min(y_N[-1], high)
  for i in range(len(y_N) - 2, -1, -1):
    y_N[i] = min(y_N[i], y_N[i + 1] - gap)
  for y, (_, text, color) in zip(y_N, ends, strict=True):
    axes.annotate(
      text,
      (1.0, y),
      xycoords=("axes fraction", "data"),
      xytext=(6, 0),
      textcoords="offset points",
      va="center",
      color=color,
      fontsize=9.5,
      fontweight="bold" if color == MODEL else "normal",
    )


def metric_at_k(rows: Sequence[Row], name: str, ks: Sequence[int]) -> str:
  """One line per method over the cut-offs K, with the model's 95 % interval.

  `name` is the metric without its cut-off, for example 'ndcg'.
  """
  title = f"{name.upper()}@K on the test part"
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("K")
    ends = []
    for row, color in zip(rows, colors(rows), strict=True):
      values = [row.values[f"{name}@{k}"] for k in ks]
      bands = [row.intervals.get(f"{name}@{k}") for k in ks]
      style = "--" if row.role == "oracle" else "-"
      axes.plot(ks, values, style, color=color, marker="o", markersize=4)
      if all(band is not None for band in bands):
        low, high = zip(*bands, strict=True)
        axes.fill_between(ks, low, high, color=color, alpha=0.15, linewidth=0)
      ends.append((values[-1], row.label, color))
    axes.set_ylim(bottom=0)
    axes.set_xlim(ks[0] * 0.9, ks[-1] * 1.1)
    if name == "hr":
      _percent(axes.yaxis)
    _line_labels(axes, ends)
  return svg_of(figure, title)


def slices(
  rows: Sequence[Row],
  groups: Sequence[str],
  counts: Sequence[int],
  metric: str,
  title: str,
) -> str:
  """Bars of one metric by group of requests; thin bars are 95 % intervals.

  Each row's values and intervals are keyed by group here, not by metric.
  """
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="x", visible=False)
    center = np.arange(len(groups), dtype=float)
    width = 0.8 / len(rows)
    for index, (row, color) in enumerate(zip(rows, colors(rows), strict=True)):
      x = center + (index - (len(rows) - 1) / 2) * width
      value = np.array([row.values[group] for group in groups])
      axes.bar(x, value, width * 0.92, color=color, label=row.label)
      for place, group in enumerate(groups):
        if group in row.intervals:
          axes.vlines(x[place], *row.intervals[group], color=INK, linewidth=1.2)
    axes.set_xticks(
      center,
      [f"{g}\n{n:,}" for g, n in zip(groups, counts, strict=True)],
    )
    axes.set_ylabel(metric.upper())
    axes.set_ylim(bottom=0)
    if len(rows) > 1:
      axes.legend(ncols=len(rows), loc="upper left")
      axes.set_ylim(top=axes.get_ylim()[1] * 1.15)
  return svg_of(figure, title)


def rank_curve(
  ranks: Mapping[str, Int[np.ndarray, "N"]],
  roles: Mapping[str, str],
  max_rank: int,
) -> str:
  """Share of requests whose target stands at place r or better, r log-spaced.

  A rank beyond `max_rank` is a miss.
  """
  title = "Where the next item stands"
  rows = [Row(label, roles[label], {}) for label in ranks]
  places = np.unique(np.geomspace(1, max_rank, 120).round().astype(int))
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xscale("log")
    ends = []
    for row, color in zip(rows, colors(rows), strict=True):
      rank_N = np.sort(ranks[row.label])
      share = np.searchsorted(rank_N, places, side="right") / len(rank_N)
      style = "--" if row.role == "oracle" else "-"
      axes.plot(places, share, style, color=color)
      ends.append((float(share[-1]), row.label, color))
    axes.set_xlim(1, max_rank)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("rank of the next item, of all items")
    axes.set_ylabel("share of requests")
    _percent(axes.yaxis)
    _line_labels(axes, ends)
  return svg_of(figure, title)
