# SPDX-License-Identifier: Apache-2.0
"""Trains TIGER's encoder-decoder on Amazon Beauty for the time that is left.

    scripts/run.py --stop_after=tokens    data, vectors, codes: what is missing
    scripts/train.py                      until a SIGTERM, which saves first

A workdir whose data, vectors and codes are there already gives all the time to
training, and one with a checkpoint goes on from it. What is recorded is read
from the run's metrics.jsonl. Training runs in processes of its own: this one
must not hold the device.
"""

import contextlib
import itertools
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

from genrec_jax.bench.accelerator_job import Job
from genrec_jax.bench.accelerator_record import SKIPPED, Record
from genrec_jax.metrics.writer import read_rows

_CASE = "tiger_amazon"
# The objective's part, and the metric that training watches.
_LOSS, _MONITOR = "codes", "ndcg@10"
# For the checkpoint that train.py saves when it is told to stop.
_SAVE_SECONDS = 20.0


def train_tiger(job: Job, record: Record) -> None:
  """Writes one case, or that there is no data to train on."""
  if not job.data and not job.quicktest:
    record.write(_CASE, SKIPPED, note="no --data: a folder of amazon2014")
    return
  record.measure(_CASE, lambda: _train(job, record.deadline))


def _train(job: Job, deadline: int | float) -> dict[str, Any]:
  variant = ":quicktest" if job.quicktest else ""
  config = job.scripts.parent / "configs" / f"{_CASE}.py"
  arguments = [f"--config={config}{variant}", f"--workdir={job.workdir}"]
  if job.data and not job.quicktest:
    arguments.append(f"--config.data.path={job.data}")
  started = time.time()
  prepare = [job.scripts / "run.py", *arguments, "--stop_after=tokens"]
  if not _until(prepare, deadline):
    raise ValueError(
      "data, vectors and codes were not ready when the time was over: make"
      f" them first (python {' '.join(map(str, prepare))})."
    )
  prepared = time.time()
  metrics = job.workdir / "metrics.jsonl"
  before = read_rows(metrics)
  finished = _until(
    [job.scripts / "train.py", *arguments], deadline - _SAVE_SECONDS
  )
  rows = read_rows(metrics)
  if not finished and rows == before:
    raise ValueError(
      f"no step was logged in the {time.time() - prepared:.0f} s of training:"
      " give more --minutes."
    )
  return {
    "prepare_seconds": round(prepared - started, 1),
    "train_seconds": round(time.time() - prepared, 1),
    "finished": finished,
    "workdir": str(job.workdir),
  } | progress(rows)


def progress(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """The last step, its losses, examples a second, and the best validation.

  Examples a second are the median between two logged rows, so that neither
  compilation nor a validation in between counts.
  """
  steps = [row for row in rows if "train/grad_norm" in row]
  last = steps[-1] if steps else rows[-1]
  rates = [
    (b["examples"] - a["examples"]) / (b["seconds"] - a["seconds"])
    for a, b in itertools.pairwise(steps)
    if b["seconds"] > a["seconds"]
  ]
  losses = _named(last, "train/")
  facts = {
    "step": last["step"],
    "loop_seconds": last["seconds"],
    "examples_per_second": round(statistics.median(rates), 1)
    if rates
    else None,
    "loss": losses.get(_LOSS),
    "losses": losses,
  }
  validated = [row for row in rows if f"validation/{_MONITOR}" in row]
  if not validated:
    return facts | {"validations": 0, "best_validation": None}
  best = max(validated, key=lambda row: row[f"validation/{_MONITOR}"])
  values = _named(best, "validation/")
  return facts | {
    "validations": len(validated),
    "best_step": best["step"],
    f"best_{_MONITOR}": values[_MONITOR],
    "best_validation": values,
  }


def _named(row: dict[str, Any], prefix: str) -> dict[str, float]:
  return {
    name.removeprefix(prefix): round(value, 5)
    for name, value in row.items()
    if name.startswith(prefix)
  }


def _until(script: list[Any], deadline: int | float) -> bool:
  """Runs a script until it ends (True) or is told to stop (False).

  Raises:
    ValueError: it failed.
  """
  command = [sys.executable, *map(str, script)]
  # A session of its own: a stage of run.py is told to stop with run.py.
  process = subprocess.Popen(command, start_new_session=True)
  try:
    code = process.wait(timeout=max(0.0, deadline - time.time()))
  except subprocess.TimeoutExpired:
    return False
  finally:
    # Whoever ends this program ends its training too, saved.
    _stop(process)
  if code:
    name = pathlib.Path(script[0]).name
    raise ValueError(f"{name} ended with {code}; what it wrote stands above.")
  return True


def _stop(process: subprocess.Popen) -> None:
  """Ends a process that still runs, and what it started."""
  for number in (signal.SIGTERM, signal.SIGKILL):
    if process.poll() is not None:
      return
    os.killpg(process.pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(timeout=_SAVE_SECONDS)
