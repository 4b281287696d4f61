# SPDX-License-Identifier: Apache-2.0
"""Trains the run of a config in a workdir; the same command resumes it.

    genrec train --config=hstu_movielens --workdir=runs/a
    genrec train --config=hstu_movielens:quicktest \\
        --workdir=/tmp/a --config.train.steps=20

Prepares the data set first where the workdir has none. SIGTERM saves a
checkpoint and exits 0, Ctrl-C likewise and exits 130. On several hosts start
the same command on each, with --distributed; where no metadata tells the
processes of each other, also with --coordinator, --num_processes and
--process_id. A run may go on with another number of processes.
"""

import contextlib

from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import said, short
from genrec_jax.core import processes
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.training import alone, train
from genrec_jax.train.termination import Termination

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("What to train.")
_WORKDIR = COMMAND.string("workdir", None, "Where the run lives.")
_DISTRIBUTED = COMMAND.bool(
  "distributed", False, "Join the other processes of this training."
)
_COORDINATOR = COMMAND.string(
  "coordinator", None, "Address host:port of process 0, where none is found."
)
_NUM_PROCESSES = COMMAND.integer(
  "num_processes", None, "How many processes, where none says so."
)
_PROCESS_ID = COMMAND.integer(
  "process_id", None, "Which one this is, from 0, where none says so."
)
_LOST_AFTER = COMMAND.float(
  "lost_after_seconds", 60.0, "Silence after which a process counts as gone."
)
COMMAND.require("config", "workdir")


@COMMAND.does
def main() -> int:
  """Entry point."""
  # Until the loop takes over there is nothing to save: clean up and leave.
  termination = Termination().install()
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
      with alone(_WORKDIR.value) as check:
        train(Run.start(_CONFIG.value, _WORKDIR.value), termination, check)
    except (ValueError, OSError, FloatingPointError) as error:
      # `joined` leaves by itself, and says of others where they come from.
      raise SystemExit(f"error: {short(said(error))}") from error
  return termination.status
