# SPDX-License-Identifier: Apache-2.0
"""Times training and requests of one and two tokens an event.

    genrec bench layouts --events=512 --batch_size=4

With learned biases and with slopes, on the simulator's users.
"""

from genrec_jax.bench.layouts import time_layouts
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_EVENTS = COMMAND.integer(
  "events", 512, "Of a history; default: 512.", lower_bound=1
)
_BATCH_SIZE = COMMAND.integer(
  "batch_size", 4, "Rows of a step; default: 4.", lower_bound=1
)
_NUM_ITEMS = asked.num_items(COMMAND)
_LAYERS = COMMAND.integer("layers", 3, "Of the stack; default: 3.")
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints seconds of training steps and requests by layout and bias."""
  result = time_layouts(
    events=_EVENTS.value,
    batch_size=_BATCH_SIZE.value,
    num_items=_NUM_ITEMS.value,
    steps=_STEPS.value,
    layers=_LAYERS.value,
  )
  asked.print_line("layouts", {"device": asked.device()} | result)
