# SPDX-License-Identifier: Apache-2.0
"""Times the step that genrec train runs, on random events.

    genrec bench train_step --config=hstu_movielens
    genrec bench train_step --config=hstu_movielens --batch_size=8 --events=50

It is the very step, on full rows. No data is needed.
"""

from genrec_jax.bench.train_step import time_train_step
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(COMMAND)
_NUM_ITEMS = asked.num_items(COMMAND)
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints seconds of a training step."""
  config, _, events = _CONFIG.read()
  result = time_train_step(
    config, num_items=_NUM_ITEMS.value, events=events, steps=_STEPS.value
  )
  asked.print_line("train_step", asked.facts(config) | result)
