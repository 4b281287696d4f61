# SPDX-License-Identifier: Apache-2.0
"""Does all that a config needs, in order, and skips what is up to date.

    python scripts/run.py --config=configs/tiger_amazon.py --workdir=runs/a \
        --config.data.path=amazon2014

Each stage (experiment/stages.py) is the script of that name, with the same
flags; --stop_after ends early. A stage that was interrupted goes on where it
stopped.
"""

import pathlib
import subprocess
import sys
import time

from absl import app, flags, logging
from ml_collections import config_flags

from genrec_jax.core.build import to_plain
from genrec_jax.experiment.stages import STAGES, StageJob

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to run.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where everything goes.")
_STOP_AFTER = flags.DEFINE_enum(
  "stop_after",
  STAGES[-1].name,
  [stage.name for stage in STAGES],
  "The last stage to do.",
)
flags.mark_flags_as_required(["config", "workdir"])

_SCRIPTS = pathlib.Path(__file__).resolve().parent


def _config_flags() -> list[str]:
  """Flags that say which config, however they were written."""
  holder = flags.FLAGS["config"]
  changes = config_flags.get_override_values(holder)
  return [
    f"--config={config_flags.get_config_filename(holder)}",
    *(f"--config.{name}={value}" for name, value in changes.items()),
  ]


def run() -> None:
  """Does the stages in order."""
  config, workdir = to_plain(_CONFIG.value), pathlib.Path(_WORKDIR.value)
  job = StageJob(config, _config_flags(), workdir)
  for stage in STAGES:
    if stage.needed(config):
      started = time.perf_counter()
      print(f"== {stage.name}", flush=True)
      if stage.done(job):
        print("up to date")
      else:
        for script, *arguments in stage.commands(job):
          # Its output and its exit status become ours.
          command = [sys.executable, str(_SCRIPTS / script), *arguments]
          if code := subprocess.run(command).returncode:
            sys.exit(code)
      seconds = time.perf_counter() - started
      print(f"== {stage.name}: {seconds:.0f} s", flush=True)
    if stage.name == _STOP_AFTER.value:
      return


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    run()
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
  app.run(main)
