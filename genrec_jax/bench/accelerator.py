# SPDX-License-Identifier: Apache-2.0
"""What needs an accelerator, most valuable first, each part in its own time.

    attention       seconds and agreement of implementations, 1k to 16k events
    train_steps     tokens per second and MFU of three configs
    decoding        users per second of generative retrieval
    served_rankers  candidates per second behind what is kept of a history
    utilisation     MFU of few large matrices and of many small ones
    training        TIGER's encoder-decoder, for the rest

A part has its share of the time that is left, so what one does not need the
next ones get. It runs in a process of its own, which is ended when its time is
over: a compilation cannot be interrupted otherwise, and a device is free again
whatever a part did to it. Cases are written as they come
(bench/accelerator_record.py).
"""

from collections.abc import Callable, Sequence
import dataclasses
import multiprocessing
import pathlib
import sys
import time

import jax

from genrec_jax.bench.accelerator_attention import measure_attention
from genrec_jax.bench.accelerator_job import Job
from genrec_jax.bench.accelerator_models import (
  measure_decoding,
  measure_served_rankers,
  measure_train_steps,
  measure_utilisation,
)
from genrec_jax.bench.accelerator_record import (
  CUT_OFF,
  FAILED,
  MEASURED,
  SKIPPED,
  Record,
  table,
)
from genrec_jax.bench.accelerator_training import train_tiger
from genrec_jax.core.suggest import choices_hint
from genrec_jax.metrics.writer import read_rows

# Exit status of a part's process that found no accelerator.
_NONE_THERE = 3
_MINUTES_AT_LEAST = 0.1


@dataclasses.dataclass(frozen=True)
class TimedPart:
  """One of the things to measure.

  Attributes:
    name: in the record.
    share: of the time of all parts; of what is left, against later ones.
    function: (job, record); writes its cases.
    columns: figures of its cases that the table shows.
    on_device: whether its own process uses the device; one that starts others
      which do must not.
  """

  name: str
  share: int | float
  function: Callable[[Job, Record], None]
  columns: tuple[str, ...]
  on_device: bool = True


PARTS = (
  TimedPart(
    "attention",
    0.2,
    measure_attention,
    ("seconds", "compile_seconds", "tflops_per_second", "mfu")
    + ("largest_error", "largest_error_of", "agrees"),
  ),
  TimedPart(
    "train_steps",
    0.25,
    measure_train_steps,
    ("seconds_per_step", "tokens_per_second", "mfu", "compile_seconds")
    + ("peak_memory_bytes",),
  ),
  TimedPart(
    "decoding",
    0.12,
    measure_decoding,
    ("constrained_users_per_second", "constrained_per_unconstrained", "beams"),
  ),
  TimedPart(
    "served_rankers",
    0.1,
    measure_served_rankers,
    ("kept_per_second", "recomputed_per_second", "one_by_one_per_second")
    + ("start_seconds", "largest_relative_difference"),
  ),
  TimedPart(
    "utilisation",
    0.08,
    measure_utilisation,
    ("mixed_forward_mfu", "towers_forward_mfu", "forward_ratio")
    + ("mixed_train_mfu", "towers_train_mfu", "train_ratio"),
  ),
  TimedPart(
    "training",
    0.25,
    train_tiger,
    ("step", "examples_per_second", "train_seconds", "loss", "best_ndcg@10"),
    on_device=False,
  ),
)


def choose(names: Sequence[str]) -> tuple[TimedPart, ...]:
  """The parts of these names, in their own order.

  Raises:
    ValueError: an unknown name.
  """
  known = [part.name for part in PARTS]
  for name in names:
    if name not in known:
      raise ValueError(f"there is no part {name!r}.{choices_hint(name, known)}")
  return tuple(part for part in PARTS if part.name in names)


def run_parts(
  job: Job, minutes: int | float, parts: Sequence[TimedPart] = PARTS
) -> tuple[str, bool]:
  """Runs parts; returns the table, and whether nothing failed.

  Args:
    job: what they are given; its output folder must hold no record.
    minutes: of all parts together.
    parts: in the order in which they run.

  Raises:
    ValueError: no accelerator, a record that is there, or too little time.
  """
  if minutes < _MINUTES_AT_LEAST:
    raise ValueError(
      f"--minutes={minutes} must be at least {_MINUTES_AT_LEAST}."
    )
  if job.path.exists():
    raise ValueError(
      f"{job.path} is there from another run: take another --output."
    )
  end = time.time() + 60 * minutes
  job.output.mkdir(parents=True, exist_ok=True)
  if parts and not parts[0].on_device:
    # Its processes would train on a CPU without a word.
    part = TimedPart("device", 0.0, _nothing, ("kind",))
    _in_process(part, job, Record(job.path, part.name), 60 * minutes)
  for i, part in enumerate(parts):
    left = end - time.time()
    seconds = left * part.share / sum(p.share for p in parts[i:])
    record = Record(job.path, part.name, time.time() + seconds)
    if seconds < 1:
      record.write("all", SKIPPED, note="no time was left")
    elif part.on_device:
      _in_process(part, job, record, seconds)
    else:
      part.function(job, record)
  rows = read_rows(job.path, "part", str)
  text = table(rows, {part.name: part.columns for part in parts})
  (job.output / "table.txt").write_text(text, encoding="utf-8")
  good = all(
    row["status"] != FAILED and row.get("agrees", True) for row in rows
  )
  return text, good


def _in_process(
  part: TimedPart, job: Job, record: Record, seconds: int | float
) -> None:
  """Runs a part in a process of its own, no longer than so many seconds.

  Raises:
    ValueError: the process found no accelerator.
  """
  # A fork would inherit threads of this one.
  context = multiprocessing.get_context("spawn")
  process = context.Process(target=_work, args=(part, job, record.deadline))
  process.start()
  try:
    process.join(seconds)
    late = process.is_alive()
  finally:
    if process.is_alive():
      process.terminate()
      process.join(5)
    if process.is_alive():
      process.kill()
      process.join()
  if late:
    record.write("the rest", CUT_OFF, note=f"stopped after its {seconds:.0f} s")
  elif process.exitcode == _NONE_THERE:
    raise ValueError(
      "jax finds no accelerator here, only the CPU, on which these figures"
      " mean nothing. On a machine with one install jax for it (docs/"
      "accelerator.md); --quicktest runs everything in small form on a CPU."
    )
  elif process.exitcode:
    record.write(
      "the rest",
      FAILED,
      error=f"its process ended with {process.exitcode}",
    )


def _nothing(job: Job, record: Record) -> None:
  """A part that only says which device there is."""


def _work(part: TimedPart, job: Job, deadline: int | float) -> None:
  """What a part's process does."""
  device = jax.devices()[0]
  if device.platform == "cpu" and not job.quicktest:
    sys.exit(_NONE_THERE)
  record = Record(job.path, part.name, deadline)
  stats = device.memory_stats() or {}
  record.write(
    "device",
    MEASURED,
    kind=device.device_kind,
    platform=device.platform,
    devices=jax.device_count(),
    memory_bytes=stats.get("bytes_limit"),
    jax=jax.__version__,
    quicktest=job.quicktest,
    note=f"{jax.device_count()} x {device.device_kind}",
  )
  part.function(job, record)


def job_of(
  output: str, scripts: pathlib.Path, quicktest: bool, data: str, workdir: str
) -> Job:
  """A job of flags.

  Args:
    output: folder of the record.
    scripts: folder of run.py and train.py.
    quicktest: small shapes.
    data: folder of amazon2014, or "".
    workdir: of the training; "" for a folder in output.

  Raises:
    ValueError: data that is no folder.
  """
  if data and not pathlib.Path(data).is_dir():
    raise ValueError(f"--data={data} is no folder: name that of amazon2014.")
  folder = pathlib.Path(output)
  return Job(
    output=folder,
    quicktest=quicktest,
    data=data,
    workdir=pathlib.Path(workdir) if workdir else folder / "tiger",
    scripts=scripts,
  )
