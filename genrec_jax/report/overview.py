# SPDX-License-Identifier: Apache-2.0
"""The one picture of README.md: every data set, every method, one metric.

A panel per data set, as in the results table: baselines, our runs (mean over
seeds; the bar is the 95 % t interval over seeds, or with one seed that over
users), the oracle, and what others published (hollow).
"""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genrec_jax.report.figures import INK, LINE, STYLE, Row, colors, svg_of
from genrec_jax.report.published import published_for
from genrec_jax.report.runs import (
  BASELINE_LABELS,
  RetrievalRun,
  baseline_summaries,
  by_config,
  by_dataset,
  summarize,
)


def _run_row(label: str, seeds: Sequence[RetrievalRun], metric: str) -> Row:
  summary = summarize(run.metrics["test"] for run in seeds)[metric]
  interval = summary.interval
  if interval is None:
    interval = seeds[0].intervals.get("test", {}).get(metric)
  return Row(
    label,
    "model",
    {metric: summary.mean},
    {} if interval is None else {metric: interval},
  )


def rows_of(runs: Sequence[RetrievalRun], metric: str) -> list[Row]:
  """The rows of one panel, from comparable runs."""
  baselines = [
    Row(
      BASELINE_LABELS.get(name, name),
      "oracle" if name == "oracle" else "baseline",
      {metric: summaries[metric].mean},
    )
    for name, summaries in baseline_summaries(runs).items()
  ]
  configs = by_config(runs)
  titles = [seeds[0].label for seeds in configs.values()]
  models = []
  for config, seeds in configs.items():
    title = seeds[0].label
    # A config's name is longer and needed only where the system is not enough.
    label = title if titles.count(title) == 1 else config
    models.append(_run_row(label, seeds, metric))
  published = [
    Row(f"{row.system} · {row.by}", "published", row.metrics)
    for row in published_for(runs[0].dataset)
    if metric in row.metrics
  ]
  return [
    *(row for row in baselines if row.role == "baseline"),
    *models,
    *(row for row in baselines if row.role == "oracle"),
    *published,
  ]


def _overview_panel(
  axes: Axes, name: str, rows: Sequence[Row], metric: str, room: int
) -> None:
  """Draws a panel with room for `room` rows, the first on top."""
  axes.set_title(name)
  axes.grid(axis="y", visible=False)
  for place, (row, color) in enumerate(zip(rows, colors(rows), strict=True)):
    y, value = len(rows) - place, row.values[metric]
    hollow = row.role == "published"
    axes.hlines(y, 0, value, color=LINE, linewidth=1.6, zorder=1)
    if metric in row.intervals:
      low, high = row.intervals[metric]
      # Two seeds that differ have an interval that reaches below zero.
      axes.hlines(y, max(low, 0), high, color=color, linewidth=2.4)
    axes.plot(
      value,
      y,
      marker="D" if hollow else "o",
      markersize=7,
      markerfacecolor="white" if hollow else color,
      markeredgecolor=color,
      markeredgewidth=1.6,
    )
    right = max(value, row.intervals.get(metric, (0, 0))[1])
    axes.annotate(
      f"{value:.3f}",
      (right, y),
      xytext=(8, 0),
      textcoords="offset points",
      va="center",
      color=INK,
      fontsize=9.5,
      fontweight="bold" if row.role == "model" else "normal",
    )
  axes.set_yticks(
    range(len(rows), 0, -1), [row.label for row in rows], color=INK
  )
  axes.set_ylim(len(rows) - room + 0.4, len(rows) + 0.6)
  # Room for the figures, which stand to the right of the bars.
  ends = [row.intervals.get(metric, (0, 0))[1] for row in rows]
  largest = max(row.values[metric] for row in rows)
  axes.set_xlim(0, max(largest * 1.22, max(ends) + largest * 0.18))
  axes.set_xlabel(f"test {metric.upper()}")
  axes.spines["left"].set_visible(False)


def draw(panels: Mapping[str, Sequence[Row]], metric: str) -> str:
  """One panel per data set, two in a line; one row per method in each."""
  title = f"Results: test {metric.upper()} by data set"
  columns = min(2, len(panels))
  lines = -(-len(panels) // columns)
  rows_in_line = [
    max(len(rows) for rows in list(panels.values())[i : i + columns])
    for i in range(0, len(panels), columns)
  ]
  heights = [0.95 + 0.24 * count for count in rows_in_line]
  with rc_context(STYLE):
    figure = Figure(figsize=(5.3 * columns, sum(heights)))
    grid = figure.add_gridspec(lines, columns, height_ratios=heights)
    for place, (name, rows) in enumerate(panels.items()):
      axes = figure.add_subplot(grid[place // columns, place % columns])
      room = rows_in_line[place // columns]
      _overview_panel(axes, name, rows, metric, room)
  return svg_of(figure, title)


def overview_svg(runs: Iterable[RetrievalRun], metric: str = "ndcg@10") -> str:
  """The picture as the text of an SVG file."""
  panels = {
    heading.split(":")[0]: rows_of(group, metric)
    for heading, group in by_dataset(runs).items()
  }
  return draw(panels, metric)
