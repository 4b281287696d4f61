# SPDX-License-Identifier: Apache-2.0
"""Trains the run of a config in a workdir; the same command resumes it.

    python scripts/train.py --config=configs/hstu_movielens.py --workdir=runs/a
    python scripts/train.py --config=configs/hstu_movielens.py:quicktest \
        --workdir=/tmp/a --config.train.steps=20

Prepares the data set first where the workdir has none. SIGTERM saves a
checkpoint and exits 0, Ctrl-C likewise and exits 130. On several hosts start
the same command on each, with --distributed; where no metadata tells the
processes of each other, also with --coordinator, --num_processes and
--process_id. A run may go on with another number of processes.
"""

import contextlib

from absl import app, flags, logging
from ml_collections import config_flags

from genrec_jax.core import processes
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.training import alone, train
from genrec_jax.train.termination import Termination

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
      with alone(_WORKDIR.value) as check:
        train(Run.start(_CONFIG.value, _WORKDIR.value), termination, check)
    except (ValueError, OSError, FloatingPointError) as error:
      # What a user can mend: the message says it all.
      raise SystemExit(f"error: {error}") from error
  if termination.status:
    raise SystemExit(termination.status)


if __name__ == "__main__":
  app.run(main)
