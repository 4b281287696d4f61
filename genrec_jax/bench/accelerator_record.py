# SPDX-License-Identifier: Apache-2.0
"""What scripts/accelerator.py measured: one JSON line per case, as it comes.

    {"part": "attention", "case": "chunked forward 4096", "status": "measured",
     "seconds": ..., ...}

    measured       figures follow
    out_of_memory  the case does not fit the device
    failed         an error, with its traceback
    skipped        not tried, and why
    cut_off        the part was stopped at the end of its time

Every line is on the disk before the next case starts, so a run that is killed
leaves what it measured.
"""

from collections.abc import Callable, Mapping, Sequence
import json
import os
import pathlib
import time
import traceback
from typing import Any

import jax

MEASURED = "measured"
OUT_OF_MEMORY = "out_of_memory"
FAILED = "failed"
SKIPPED = "skipped"
CUT_OFF = "cut_off"

# What XLA's allocators and compilers say on GPUs, TPUs and CPUs.
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")


class Record:
  """Appends the cases of one part to a file.

  Attributes:
    part: its name.
    deadline: of time.time(); a case that would start later is skipped.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    part: str,
    deadline: int | float = float("inf"),
  ):
    self._path = pathlib.Path(path)
    self.part = part
    self.deadline = deadline

  def write(self, case: str, status: str, **figures: Any) -> None:
    """Appends one line and waits until the disk has it."""
    line = {"part": self.part, "case": case, "status": status} | figures
    with self._path.open("a", encoding="utf-8") as file:
      file.write(json.dumps(line) + "\n")
      file.flush()
      os.fsync(file.fileno())
    print(f"{self.part}: {case}: {status}", flush=True)

  def measure(self, case: str, function: Callable[[], Mapping[str, Any]]):
    """Writes what a case gives, or why it gives nothing; never raises for it.

    Args:
      case: its name within the part.
      function: returns figures that JSON can hold.
    """
    if time.time() >= self.deadline:
      self.write(case, SKIPPED, note="the part's time was over")
      return
    started = time.time()
    try:
      figures, status = dict(function()), MEASURED
    except Exception as error:  # One case must not cost the others.
      figures, status = _of_error(error)
    figures["wall_seconds"] = round(time.time() - started, 2)
    self.write(case, status, **figures)


def _of_error(error: Exception) -> tuple[dict[str, Any], str]:
  first = (str(error).splitlines() or [""])[0]
  facts = {"error": f"{type(error).__name__}: {first}"}
  exhausted = isinstance(error, jax.errors.JaxRuntimeError | MemoryError)
  if isinstance(error, MemoryError) or (
    exhausted and any(words in str(error) for words in _NO_MEMORY)
  ):
    return facts, OUT_OF_MEMORY
  return facts | {"traceback": traceback.format_exc()}, FAILED


def table(
  rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Sequence[str]]
) -> str:
  """The lines of a record for people to read.

  Args:
    rows: as read from the file.
    columns: by part, the figures that are shown of it.
  """
  lines = []
  for part, names in columns.items():
    mine = [row for row in rows if row["part"] == part]
    if not mine:
      continue
    cells = [["case", "status", *names]]
    cells += [
      [row["case"], row["status"], *(_cell(row.get(n)) for n in names)]
      for row in mine
    ]
    widths = [max(len(c[i]) for c in cells) for i in range(len(cells[0]))]
    lines.append(part)
    for row in cells:
      padded = (c.ljust(w) for c, w in zip(row, widths, strict=True))
      lines.append(("  " + "  ".join(padded)).rstrip())
    for row in mine:
      note = row.get("error") or row.get("note") or row.get("mfu_note")
      if note:
        lines.append(f"  {row['case']}: {note}")
    lines.append("")
  return "\n".join(lines)


def _cell(value: Any) -> str:
  if value is None:
    return "-"
  return f"{value:.4g}" if isinstance(value, float) else str(value)
