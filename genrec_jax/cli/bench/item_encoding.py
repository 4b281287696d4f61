# SPDX-License-Identifier: Apache-2.0
"""Times training steps that encode items, or find vectors.

    genrec bench item_encoding --config=cobra_amazon

One encodes the batch's items, the other finds their vectors ready. With the
FLOPs of both.
"""

from genrec_jax.bench.item_encoding import time_item_encoding
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(COMMAND)
_NUM_ITEMS = asked.num_items(COMMAND, asked.BEAUTY)
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints seconds of both steps."""
  config, _, events = _CONFIG.read()
  result = time_item_encoding(
    config, num_items=_NUM_ITEMS.value, events=events, turns=_STEPS.value
  )
  asked.print_line("item_encoding", asked.facts(config) | result)
