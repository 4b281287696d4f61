# SPDX-License-Identifier: Apache-2.0
"""Scalars over steps: metrics.jsonl, and TensorBoard where it is installed.

One JSON object per line with "step", "seconds" (of training so far) and
names in lower case. A resumed run drops the lines of steps it is about to
repeat. A training row averages the steps since the row before it, or since the
run was resumed. With several processes only the first one writes.
"""

from collections.abc import Mapping
import importlib.util
import json
import math
import os
import pathlib
from typing import Any

from genrec_jax.core import atomic


def read_rows(
  path: str | os.PathLike, key: str = "step", kind: type = int
) -> list[dict[str, Any]]:
  """The rows of a metrics.jsonl; a last line cut off by a kill is left out.

  Args:
    path: of the file; where there is none there are no rows.
    key: what every row has.
    kind: type of its value.

  Raises:
    ValueError: a line that is no row (names it).
  """
  path = pathlib.Path(path)
  if not path.is_file():
    return []
  lines = path.read_bytes().split(b"\n")
  rows = []
  for number, line in enumerate(lines, 1):
    try:
      row = json.loads(line)
      if not isinstance(row[key], kind):
        raise ValueError(f"no {key}")
      rows.append(row)
    except (ValueError, KeyError, TypeError) as e:
      # Behind the last end of a line there is nothing, or what was cut off.
      if number < len(lines):
        raise ValueError(
          f"{path}, line {number} is damaged ({str(e)[:80]}): delete that line"
          " of the log. Nothing else depends on it."
        ) from e
  return rows


class Writer:
  """Appends scalars to WORKDIR/metrics.jsonl."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    resume_step: int = 0,
    active: bool = True,
  ):
    """Opens the file and drops rows of steps after resume_step.

    Args:
      workdir: gets metrics.jsonl and the folder tensorboard.
      resume_step: the run goes on after this step.
      active: False writes nothing (all processes but the first).
    """
    workdir = pathlib.Path(workdir)
    self._file = self._board = None
    if not active:
      return
    path = workdir / "metrics.jsonl"
    kept = [r for r in read_rows(path) if r["step"] <= resume_step]
    atomic.write_text(path, "".join(json.dumps(r) + "\n" for r in kept))
    self._file = path.open("a", encoding="utf-8")
    if importlib.util.find_spec("tensorboardX") is not None:
      from tensorboardX import SummaryWriter

      self._board = SummaryWriter(
        str(workdir / "tensorboard"), purge_step=resume_step + 1
      )

  def write(self, step: int, scalars: Mapping[str, float], **facts) -> None:
    """One row; what is not finite is written as null."""
    if self._file is None:
      return
    row = {"step": step, **facts}
    for name, value in scalars.items():
      value = float(value)
      row[name] = value if math.isfinite(value) else None
      if self._board is not None:
        self._board.add_scalar(name, value, step)
    self._file.write(json.dumps(row) + "\n")
    self._file.flush()

  def close(self) -> None:
    """Closes the files."""
    if self._file is not None:
      self._file.close()
    if self._board is not None:
      self._board.close()
