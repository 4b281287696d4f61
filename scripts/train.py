# SPDX-License-Identifier: Apache-2.0
"""Trains the run of a config in a workdir; the same command resumes it.

    python scripts/train.py --config=configs/hstu_movielens.py --workdir=runs/a
    python scripts/train.py --config=configs/hstu_movielens.py:quicktest \
        --workdir=/tmp/a --config.train.steps=20

Prepares the data set first where the workdir has none. SIGTERM saves a
checkpoint and exits 0. On several hosts start the same command on each, with
--distributed; where no metadata tells the processes of each other, also with
--coordinator, --num_processes and --process_id. A run may go on with another
number of processes.
"""

import contextlib

from absl import app, flags, logging
import jax
from ml_collections import config_flags
import numpy as np

from genrec_jax.core import processes, sharding
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.pipeline.readers import Readers
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import load_parts, open_old
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.restored import load_params
from genrec_jax.metrics.writer import Writer
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.loop import Loop, Progress
from genrec_jax.train.state import num_parameters
from genrec_jax.train.termination import Termination
from genrec_jax.train.warm_start import carry_over

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to train.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives.")
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "Join the other processes (core/processes.py)."
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "Address host:port of process 0, where none is found."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "How many processes, where none says so."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Which one this is, from 0, where none says so."
)
_LOST_AFTER = flags.DEFINE_float(
  "lost_after_seconds", 60.0, "Silence after which a process counts as gone."
)
flags.mark_flags_as_required(["config", "workdir"])


def _initial_params(run: Run):
  """Parameters of train.warm_start carried over by item, or the data's."""
  if not run.train.warm_start:
    return run.initial_params()
  old = open_old(run, run.train.warm_start)
  params, facts = carry_over(
    load_params(old).params,
    run.init_params(),
    Catalog(old.histories.directory).ids,
    run.catalog.ids,
    run.system.item_tables,
  )
  print(
    f"warm start from {run.train.warm_start}: {facts.kept} items kept,"
    f" {facts.new} new, {facts.gone} left behind"
  )
  return params


def _start(
  run: Run, program: Program, checkpoints: Checkpoints, batches: Readers
):
  """The state and bookkeeping to go on from: restored, or fresh."""
  manifest = run.histories.manifest
  if checkpoints.latest_step is None:
    progress = Progress(
      fingerprint=manifest.fingerprint, artifacts=run.artifacts.versions
    )
    return program.init_state(load_parts(run, _initial_params(run))), progress
  restored = checkpoints.restore(
    program.abstract_state(), program.state_shardings
  )
  progress = Progress(**restored.progress)
  if progress.fingerprint != manifest.fingerprint:
    raise ValueError(
      f"the checkpoint in {checkpoints.directory} was trained on another data"
      f" set than the one in {run.histories.directory} (fingerprints"
      f" {progress.fingerprint} and {manifest.fingerprint}). Use another"
      " --workdir, or bring the old data back."
    )
  run.artifacts.check(progress.artifacts)
  if "readers" not in restored.data:
    raise ValueError(
      f"the checkpoint in {checkpoints.directory} is of an older version, which"
      " kept the place in the data by process. Use another --workdir."
    )
  batches.set_state(restored.data["readers"])
  print(f"resuming at step {int(restored.state.step)} of {run.train.steps}")
  return restored.state, progress


def _open_readers(run: Run, rows: np.ndarray) -> Readers:
  """The data, from its start: these rows of every global batch."""
  options = run.pipeline
  return Readers(
    lambda number: training_batches(
      run.source,
      options.layout,
      batch_size=options.batch_size,
      row_length=options.row_length,
      seed=run.seed,
      reader=number,
      readers=options.readers,
    ),
    count=options.readers,
    batch_size=options.batch_size,
    rows=rows,
  )


def train(run: Run, termination: Termination) -> None:
  """Trains or resumes a run to its end."""
  program = run.program(run.mesh.place())
  placement, size = program.placement, run.pipeline.batch_size
  placement.check_batch_size(size, "config.pipeline.batch_size")
  run.check_evals()
  rows = sharding.rows_of_process(placement.by_rows, size)
  batches = _open_readers(run, rows)
  checkpoints = Checkpoints(
    run.workdir / "checkpoints", run.train.keep_checkpoints
  )
  best = Checkpoints(run.workdir / "best", keep=1)
  with (
    checkpoints,
    best,
    contextlib.closing(batches),
    program.in_force(),
  ):
    state, progress = _start(run, program, checkpoints, batches)
    writer = Writer(run.workdir, int(state.step), jax.process_index() == 0)
    manifest = run.histories.manifest
    names = run.pipeline.layout.names(run.users, run.catalog)
    print(
      f"{run.name}: {num_parameters(state.params):,} parameters,"
      f" {manifest.num_users:,} users, {manifest.num_items:,} items,"
      f" {placement.mesh.size} device(s)"
    )
    with contextlib.closing(writer):
      Loop(
        options=run.train,
        step_fn=program.train_step,
        put=lambda batch: sharding.put(batch, placement.by_rows, rows, size),
        batches=batches,
        checkpoints=checkpoints,
        best=best,
        writer=writer,
        validate=lambda params: run.validate(params, program),
        user_ids=lambda users: [names[u] for u in users],
        config=run.config,
        progress=progress,
        termination=termination,
      ).run(state)
  if progress.finished:
    print(f"finished: {progress.finished}; best step {progress.best_step}")


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  # Until the loop takes over there is nothing to save: clean up and leave.
  termination = Termination().install()
  logging.set_verbosity(logging.WARNING)
  with contextlib.ExitStack() as job:
    if _DISTRIBUTED.value:
      job.enter_context(
        processes.joined(
          _COORDINATOR.value,
          _NUM_PROCESSES.value,
          _PROCESS_ID.value,
          patience_seconds=_LOST_AFTER.value,
        )
      )
    try:
      train(Run.start(_CONFIG.value, _WORKDIR.value), termination)
    except (ValueError, OSError, FloatingPointError) as error:
      # What a user can mend: the message says it all.
      raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
