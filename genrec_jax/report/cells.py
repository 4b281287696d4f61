# SPDX-License-Identifier: Apache-2.0
"""Cells and lines of Markdown tables."""

from collections.abc import Sequence

from genrec_jax.report.runs import Summary

OVER = (
  "Several seeds: mean [95 % t interval over seeds: other trainings, the same"
  " users]. One seed: value (95 % interval over users: other users, the same"
  " training), and no verdict."
)


def cell(summary: Summary | None, users: Sequence[float] | None = None) -> str:
  """`.3023 [.2992, .3054]` over seeds, `.3023 (.291-.314)` over users of one.

  Args:
    summary: over seeds; None, for what is not defined, is "-".
    users: interval over users, shown where there is one seed.
  """
  if summary is None:
    return "-"
  text = f"{summary.mean:.4f}"
  if summary.interval is not None:
    low, high = (f"{end:.4f}" for end in summary.interval)
    # Baselines do not depend on the seed: their width is 0 and says nothing.
    return text if low == high else f"{text} [{low}, {high}]"
  if users is not None:
    return f"{text} ({users[0]:.3f}-{users[1]:.3f})"
  return text


def line(cells: Sequence[str]) -> str:
  """One line of a table."""
  return "| " + " | ".join(cells) + " |"
