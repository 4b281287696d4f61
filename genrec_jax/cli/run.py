# SPDX-License-Identifier: Apache-2.0
"""Does all that a config needs, in order, and skips what is up to date.

    genrec run --config=tiger_amazon --workdir=runs/a \\
        --config.data.path=amazon2014

Each stage is the command of that name, with the same
flags; --stop_after ends early. A stage that was interrupted goes on where it
stopped.
"""

from collections.abc import Sequence
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from genrec_jax.cli.command import Command
from genrec_jax.core.build import to_plain
from genrec_jax.experiment.stages import STAGES, StageJob

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("What to run.")
_WORKDIR = COMMAND.string("workdir", None, "Where everything goes.")
_STOP_AFTER = COMMAND.enum(
  "stop_after",
  STAGES[-1].name,
  [stage.name for stage in STAGES],
  "The last stage to do.",
)
COMMAND.require("config", "workdir")

# Not from the folder that we are in: it may hold modules of any name.
_GENREC = (sys.executable, "-P", "-m", "genrec_jax.cli")


def status_of(command: Sequence[str]) -> int:
  """Runs a command, whose output and exit status become ours.

  What a signal has ended has the status that shells give it: 128 + its number.

  SIGTERM is passed on, and Ctrl-C reaches both of us: the command then saves
  and ends, and is waited for. It has done what it should, and the status says
  that nothing may follow: that of the signal.
  """
  child = subprocess.Popen(command)
  received = []

  def pass_on(number: int, _: Any) -> None:
    received.append(number)
    if number == signal.SIGTERM:
      child.send_signal(number)

  numbers = (signal.SIGTERM, signal.SIGINT)
  before = {number: signal.signal(number, pass_on) for number in numbers}
  try:
    status = child.wait()
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  if status == 0 and received:
    return 128 + received[0]
  return status if status >= 0 else 128 - status


@COMMAND.does
def main() -> int:
  """Does the stages in order."""
  config, workdir = to_plain(_CONFIG.value), pathlib.Path(_WORKDIR.value)
  job = StageJob(config, _CONFIG.words, workdir)
  for stage in STAGES:
    if stage.needed(config):
      started = time.perf_counter()
      print(f"== {stage.name}", flush=True)
      if stage.done(job):
        print("up to date")
      else:
        for words in stage.commands(job):
          if code := status_of([*_GENREC, *words]):
            return code
      seconds = time.perf_counter() - started
      print(f"== {stage.name}: {seconds:.0f} s", flush=True)
    if stage.name == _STOP_AFTER.value:
      break
  return 0
