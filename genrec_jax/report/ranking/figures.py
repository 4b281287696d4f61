# SPDX-License-Identifier: Apache-2.0
"""The plots of a ranker's page, as SVG text like those of figures.py.

    by_task       a metric of every task, the model against its baselines
    calibration   what was predicted against what was observed, by task
    by_group      a metric of every task by groups of impressions
    reading       what each past event does to one candidate: its value without
                  the event or with another action, and the attention on it

AUC and normalised entropy have no zero to start a bar from: points, not bars.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from jaxtyping import Float
from matplotlib import rc_context, ticker
from matplotlib.figure import Figure
import numpy as np

from genrec_jax.report.figures import (
  INK,
  MODEL,
  MUTED,
  STYLE,
  Row,
  colors,
  svg_of,
)

_TASKS = (MODEL, "#0ea5b7", "#7c3aed", "#db2777", "#d08a2e", "#5c6470")
_LAYERS = ("#93b4f7", "#5f86ee", "#1d4ed8", "#152f80")
_CHANGED = "#d08a2e"


@dataclasses.dataclass(frozen=True)
class PastEffects:
  """What a model makes of past events, for one candidate.

  Attributes:
    labels: of the E events, oldest first.
    removed_E: value as it is, less that without the event.
    changed_E: value with another action of the event, less that as it is.
    attention: layer -> sum of its heads' weights on each event; empty for
      models that have none to show.
  """

  labels: Sequence[str]
  removed_E: Float[np.ndarray, "E"]
  changed_E: Float[np.ndarray, "E"]
  attention: Mapping[str, Float[np.ndarray, "E"]]


def by_task(
  rows: Sequence[Row], tasks: Sequence[str], metric: str, chance: float
) -> str:
  """Points with 95 % intervals where rows have them; keyed by task.

  Args:
    rows: methods.
    tasks: groups of points; a row may lack one.
    metric: its name.
    chance: where a constant would stand, a dashed line.
  """
  title = f"{metric.upper()} by task on the test part"
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(axis="x", visible=False)
    axes.axhline(chance, color=MUTED, linewidth=1, linestyle="--")
    center = np.arange(len(tasks), dtype=float)
    for index, (row, color) in enumerate(zip(rows, colors(rows), strict=True)):
      x = center + (index - (len(rows) - 1) / 2) * 0.7 / len(rows)
      there = [i for i, task in enumerate(tasks) if task in row.values]
      y = [row.values[tasks[i]] for i in there]
      axes.plot(x[there], y, "o", color=color, markersize=7, label=row.label)
      for place in there:
        if tasks[place] in row.intervals:
          axes.vlines(x[place], *row.intervals[tasks[place]], color=color)
    axes.set_xticks(center, tasks)
    axes.set_xlim(-0.6, len(tasks) - 0.4)
    axes.margins(y=0.12)
    figure.legend(ncols=2, loc="outside lower center")
  return svg_of(figure, title)


def calibration(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
  """A panel per task: bins of equal mass against the diagonal."""
  title = "Calibration on the test part"
  columns = min(3, len(curves))
  rows = -(-len(curves) // columns)
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5 if rows == 1 else 2.3 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.suptitle(
      title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK
    )
    for axes, (task, curve), color in zip(
      panels, curves.items(), _cycled(len(curves)), strict=False
    ):
      predicted, observed = curve["predicted"], curve["observed"]
      high = 1.08 * max([*predicted, *observed, 1e-3])
      axes.plot([0, high], [0, high], color=MUTED, linewidth=1, linestyle="--")
      axes.plot(predicted, observed, color=color, marker="o", markersize=3.5)
      axes.set_xlim(0, high)
      axes.set_ylim(0, high)
      axes.set_box_aspect(1)
      for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(3))
      axes.set_title(task, fontsize=10, fontweight="normal")
      axes.set_xlabel("predicted")
    for axes in panels[len(curves) :]:
      axes.set_visible(False)
    panels[0].set_ylabel("observed share")
  return svg_of(figure, title)


def by_group(
  values: Mapping[str, Mapping[str, float | None]],
  groups: Sequence[str],
  counts: Sequence[int],
  metric: str,
  title: str,
) -> str:
  """A line per task over groups; what is not defined is left out.

  Args:
    values: task -> group -> metric.
    groups: in order.
    counts: impressions of each.
    metric: its name.
    title: of the plot.
  """
  with rc_context(STYLE):
    figure = Figure(figsize=(5.6, 3.5))
    axes = figure.add_subplot()
    axes.set_title(title)
    x = np.arange(len(groups))
    for (task, by), color in zip(
      values.items(), _cycled(len(values)), strict=False
    ):
      y = [np.nan if by[g] is None else by[g] for g in groups]
      axes.plot(x, y, color=color, marker="o", markersize=5, label=task)
    axes.axhline(0.5, color=MUTED, linewidth=1, linestyle="--")
    axes.set_xticks(
      x, [f"{g}\n{n:,}" for g, n in zip(groups, counts, strict=True)]
    )
    axes.set_ylabel(metric.upper())
    axes.margins(x=0.08, y=0.15)
    figure.legend(ncols=3, loc="outside lower center")
  return svg_of(figure, title)


def reading(found: PastEffects) -> str:
  """Bars beside the names of events, the newest on top."""
  title = "What the history does to the first item"
  y = np.arange(len(found.labels))
  panels = 2 if found.attention else 1
  with rc_context(STYLE):
    figure = Figure(figsize=(11.4, 1.6 + 0.36 * len(y)))
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    left = axes[0]
    left.set_title("Value that each event adds")
    for bars, offset, color, label in (
      (found.removed_E, 0.19, MODEL, "with the event, less without"),
      (
        found.changed_E,
        -0.19,
        _CHANGED,
        "with the other action, less as it is",
      ),
    ):
      left.barh(y + offset, bars, 0.36, color=color, label=label)
    left.set_yticks(y, found.labels)
    left.tick_params(axis="y", labelcolor=INK)
    if found.attention:
      axes[1].set_title("Attention, summed over heads")
      height = 0.76 / len(found.attention)
      for i, (layer, row) in enumerate(found.attention.items()):
        shade = _LAYERS[
          i * (len(_LAYERS) - 1) // max(1, len(found.attention) - 1)
        ]
        offset = ((len(found.attention) - 1) / 2 - i) * height
        axes[1].barh(y + offset, row, 0.9 * height, color=shade, label=layer)
    for panel in axes:
      panel.axvline(0, color=MUTED, linewidth=1)
      panel.grid(axis="y", visible=False)
      panel.xaxis.set_major_locator(ticker.MaxNLocator(5))
    figure.legend(ncols=2 + len(found.attention), loc="outside lower center")
  return svg_of(figure, title)


def _cycled(count: int) -> list[str]:
  return [_TASKS[i % len(_TASKS)] for i in range(count)]
