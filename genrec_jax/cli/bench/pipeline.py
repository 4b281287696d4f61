# SPDX-License-Identifier: Apache-2.0
"""Times the input pipeline alone, and says how full its rows are.

    genrec bench pipeline --config=hstu_movielens
    genrec bench pipeline --config=hstu_movielens --workdir=runs/a

It reads simulated histories of --events events, or the data set of a workdir.
"""

from genrec_jax.bench.pipeline import SimulatedHistories, time_pipeline
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command
from genrec_jax.data.dataset.histories import Histories

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(COMMAND)
_NUM_ITEMS = asked.num_items(COMMAND)
_STEPS = COMMAND.integer(
  "steps", 10, "Five batches each are timed; default: 10.", lower_bound=1
)
_WORKDIR = COMMAND.string("workdir", None, "Read this run's data set.")
_BATCHES, _HISTORIES = 5, 4096


@COMMAND.does
def main() -> None:
  """Prints tokens per second of the pipeline."""
  config, options, events = _CONFIG.read()
  if _WORKDIR.value:
    histories = Histories(f"{_WORKDIR.value}/data")
  else:
    # Two events are held out, and n inputs need n + 1 events.
    histories = SimulatedHistories(_HISTORIES, events + 3, _NUM_ITEMS.value)
  result = time_pipeline(options, histories, batches=_BATCHES * _STEPS.value)
  asked.print_line("pipeline", asked.facts(config) | result)
