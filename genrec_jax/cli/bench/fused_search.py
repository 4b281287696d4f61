# SPDX-License-Identifier: Apache-2.0
"""Times lists by beams of codes and vectors, in users per second.

    genrec bench fused_search --config=cobra_amazon

The clusters of IDs come from a table in the same program, and from an index on
the host.
"""

from genrec_jax.bench.fused_search import time_fused_search
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(
  COMMAND, events=asked.HISTORY - 1, batch_size=asked.REQUESTS
)
_NUM_ITEMS = asked.num_items(COMMAND, asked.BEAUTY)
_BEAMS = COMMAND.integer("beams", 20, "Beams; default: 20.")
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints users per second of a search through codes and vectors."""
  config, _, history = _CONFIG.read()
  result = time_fused_search(
    config,
    num_items=_NUM_ITEMS.value,
    num_beams=_BEAMS.value,
    batch_size=_CONFIG.batch_size,
    history=history,
    turns=_STEPS.value,
  )
  asked.print_line("fused_search", asked.facts(config) | result)
