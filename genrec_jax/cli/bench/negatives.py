# SPDX-License-Identifier: Apache-2.0
"""Times training steps with hard and with uniform negatives.

    genrec bench negatives --config=sasrec_amazon:sampled [--per_position]

The hard ones are the best --k of a block of 8 K. --per_position times those of
each position too, with and without the mask of what their user takes later.
"""

from genrec_jax.bench.negatives import time_negatives
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(COMMAND)
_NUM_ITEMS = asked.num_items(COMMAND, asked.BEAUTY)
_K = COMMAND.integer(
  "k", 1024, "Negatives of a step; default: 1,024.", lower_bound=1
)
_PER_POSITION = COMMAND.bool(
  "per_position", False, "Those of each position as well."
)
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints seconds of a step by its negatives."""
  config, _, events = _CONFIG.read()
  result = time_negatives(
    config,
    num_items=_NUM_ITEMS.value,
    events=events,
    turns=_STEPS.value,
    count=_K.value,
    per_position=_PER_POSITION.value,
  )
  asked.print_line("negatives", asked.facts(config) | result)
