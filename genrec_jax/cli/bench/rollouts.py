# SPDX-License-Identifier: Apache-2.0
"""Times the drawing of lists that are trained on.

    genrec bench rollouts --config=tiger_amazon:decoder_only-policy
    genrec bench rollouts --config=onerec_retail:preference --events=30

In lists per second, with their rewards and log-probabilities: of single items,
or of lists of the config's size.
"""

from genrec_jax.bench.rollouts import time_rollouts
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(
  COMMAND, events=asked.HISTORY, batch_size=asked.REQUESTS
)
_NUM_ITEMS = asked.num_items(COMMAND, asked.BEAUTY)
_BEAMS = COMMAND.integer(
  "beams", 20, "Beams; 0 = as the config draws; default: 20."
)
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints lists per second that are drawn to be trained on."""
  config, _, history = _CONFIG.read()
  result = time_rollouts(
    config,
    num_items=_NUM_ITEMS.value,
    num_beams=_BEAMS.value,
    requests=_CONFIG.batch_size,
    history=history,
    turns=_STEPS.value,
  )
  asked.print_line("rollouts", asked.facts(config) | result)
