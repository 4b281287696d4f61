# SPDX-License-Identifier: Apache-2.0
"""What compiled steps take, as a table for the terminal and docs/tpu.md.

Markdown out of the JSON of genrec compile: one row per quantity, one
column per step; figures are those of one chip.
"""

from collections.abc import Callable, Mapping
from typing import Any

Facts = Mapping[str, Any]
Cell = Callable[[Facts], str]


def scaled(value: float | int | None, unit: str) -> str:
  """A number with a decimal prefix: 5.63e9 B -> "5.63 GB"."""
  if value is None:
    return "-"
  for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
    if abs(value) >= 10**power:
      return f"{value / 10**power:.3g} {prefix}{unit}"
  return f"{value:.3g} {unit}".rstrip()


def seconds(value: float | int) -> str:
  """1.234e-3 -> "1.23 ms"."""
  for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
    if value * factor >= 1:
      return f"{value * factor:.3g} {unit}"
  return f"{value * 1e9:.3g} ns"


def _collective(kind: str) -> Cell:
  def cell(step: Facts) -> str:
    traffic = step.get("collectives_per_chip", {}).get(kind)
    if not traffic:
      return "-"
    return f"{traffic['count']:,.0f} x, {scaled(traffic['bytes'], 'B')}"

  return cell


def _amount(key: str, unit: str) -> Cell:
  return lambda step: scaled(step.get(key), unit)


def _bytes(key: str) -> Cell:
  return lambda step: scaled(step["bytes_per_chip"][key], "B")


def _time(key: str) -> Cell:
  return lambda step: seconds(step[key]) if key in step else "-"


def _bound(step: Facts) -> str:
  if "bound_by" not in step:
    return "-"
  return f"{seconds(step['step_seconds'])} ({step['bound_by']})"


def _use(step: Facts) -> str:
  return f"{100 * step['bound_mfu']:.1f} %" if "bound_mfu" in step else "-"


def _rows(facts: Facts) -> list[tuple[str, Cell]]:
  limit = scaled(facts["memory_bytes_per_chip"], "B")
  steps = facts["steps"].values()
  kinds = sorted({k for s in steps for k in s.get("collectives_per_chip", {})})
  return [
    ("arguments", _bytes("arguments")),
    ("temporaries", _bytes("temporary")),
    (f"peak, of {limit}", _bytes("peak")),
    ("fits", lambda step: "yes" if step["fits"] else "NO"),
    ("FLOPs", _amount("flops_per_chip", "")),
    ("of them in kernels", _amount("kernel_flops_per_chip", "")),
    ("memory traffic", _amount("memory_traffic_bytes_per_chip", "B")),
    *((kind, _collective(kind)) for kind in kinds),
    ("compute, at least", _time("compute_seconds")),
    ("memory, at least", _time("memory_seconds")),
    ("network, at least", _time("network_seconds")),
    ("step, at least", _bound),
    ("MFU, at most", _use),
  ]


def title(facts: Facts) -> str:
  """What was compiled for what, in one line."""
  return (
    f"{facts['config']} on {facts['topology']}: {facts['chips']} chips, preset"
    f" {facts['preset']}, {facts['parameters']:,} parameters,"
    f" {facts['num_items']:,} items, {facts['batch_size']:,} rows of"
    f" {facts['row_length']:,}"
  )


def table(facts: Facts) -> str:
  """Markdown of all steps.

  Args:
    facts: the JSON of genrec compile.
  """
  steps = facts["steps"]
  lines = [
    f"| per chip | {' | '.join(steps)} |",
    "| --- |" + " ---: |" * len(steps),
  ]
  for name, cell in _rows(facts):
    lines.append(f"| {name} | {' | '.join(map(cell, steps.values()))} |")
  return "\n".join(lines)


def warnings(facts: Facts) -> str:
  """What makes a figure too low, or ""."""
  lines = []
  for name, step in facts["steps"].items():
    for key, what in (
      ("unknown_loops", "loops that data ends, counted once:"),
      ("unpriced_kernels", "kernels without an estimate, left out:"),
    ):
      if step.get(key):
        lines.append(f"{name}: {what}")
        lines += [f"  {line}" for line in step[key]]
  return "\n".join(lines)
