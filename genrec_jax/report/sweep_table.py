# SPDX-License-Identifier: Apache-2.0
"""A sweep's record as a table: one row a config (experiment/sweep.py)."""

from genrec_jax.experiment.sweep import Record, chosen
from genrec_jax.report.cells import line


def sweep_table(record: Record) -> str:
  """One row a config, as Markdown."""
  head = [
    "config",
    "trials",
    "failed",
    "best validation",
    "at step",
    "as it is",
  ]
  lines = [line([*head, "settings", "seconds"]), line(["---"] * 8)]
  for name, trials in record.items():
    number = chosen(trials)
    best = {} if number is None else trials[number]
    plain = trials.get("0", {})
    settings = ", ".join(f"{k}={v}" for k, v in best.get("changes", {}).items())
    lines.append(
      line(
        [
          name,
          str(len(trials)),
          str(sum("best" not in one for one in trials.values())),
          _figure(best.get("best")),
          str(best.get("best_step", "-")),
          _figure(plain.get("best")),
          settings or ("as it is" if best else "-"),
          f"{sum(one.get('seconds', 0) for one in trials.values()):.0f}",
        ]
      )
    )
  return "\n".join(lines)


def _figure(value: float | None) -> str:
  return "-" if value is None else f"{value:.4f}"
