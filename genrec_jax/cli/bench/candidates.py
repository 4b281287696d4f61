# SPDX-License-Identifier: Apache-2.0
"""Times candidates of one history, together and each alone.

    genrec bench candidates --layout=interleaved

Together is in one pass against the kept history, --micro_batch at a time. The
model is HSTU with random weights.
"""

from genrec_jax.bench.candidates import LAYOUTS, time_candidates
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_LAYOUT = COMMAND.enum(
  "layout",
  "action_oriented",
  list(LAYOUTS),
  "Tokens of the history: action_oriented, the default, has one an event,"
  " interleaved two.",
)
_NUM_ITEMS = asked.num_items(COMMAND)
_EVENTS = COMMAND.integer(
  "events", 1024, "Of the history; default: 1,024.", lower_bound=1
)
_CANDIDATES = COMMAND.integer(
  "candidates", 2048, "How many; default: 2,048.", lower_bound=1
)
_MICRO_BATCH = COMMAND.integer(
  "micro_batch", 256, "Candidates at a time; default: 256."
)
_ALONE = COMMAND.integer(
  "alone",
  8,
  "How many are scored alone; the rest is multiplied; default: 8.",
)
_STEPS = asked.steps(COMMAND)


@COMMAND.does
def main() -> None:
  """Prints seconds of scoring candidates together and alone."""
  result = time_candidates(
    layout=_LAYOUT.value,
    num_items=_NUM_ITEMS.value,
    events=_EVENTS.value,
    candidates=_CANDIDATES.value,
    micro_batch=_MICRO_BATCH.value,
    repeats=_STEPS.value,
    alone=_ALONE.value,
  )
  asked.print_line("candidates", {"device": asked.device()} | result)
