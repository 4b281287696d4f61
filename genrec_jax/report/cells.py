# SPDX-License-Identifier: Apache-2.0
"""Cells and lines of Markdown tables."""

from collections.abc import Sequence

from genrec_jax.report.runs import Summary


def cell(
  summary: Summary | None, interval: Sequence[float] | None = None
) -> str:
  """`.3023 ± .0012` over seeds, `.3023 (.291-.314)` of one, `-` if unknown."""
  if summary is None:
    return "-"
  text = f"{summary.mean:.4f}"
  # Floors do not depend on the seed: their deviation is 0 and says nothing.
  if summary.deviation:
    return f"{text} ± {summary.deviation:.4f}"
  if interval is not None:
    return f"{text} ({interval[0]:.3f}-{interval[1]:.3f})"
  return text


def line(cells: Sequence[str]) -> str:
  """One line of a table."""
  return "| " + " | ".join(cells) + " |"
