# SPDX-License-Identifier: Apache-2.0
"""Times beam search with a trie, with item masks, with neither.

    genrec bench decoding --config=tiger_amazon [--peer_python=t5/bin/python]

In users per second. --peer_python, an interpreter with torch and transformers,
lets Hugging Face's T5 take turns, --steps batches each.
"""

from genrec_jax.bench.decoding import time_decoding
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_CONFIG = asked.ConfigFlags(
  COMMAND, events=asked.HISTORY, batch_size=asked.REQUESTS
)
_NUM_ITEMS = asked.num_items(COMMAND)
_BEAMS = COMMAND.integer("beams", 20, "Beams; default: 20.")
_STEPS = asked.steps(COMMAND)
_PEER_PYTHON = COMMAND.string(
  "peer_python", None, "Interpreter that runs scripts/peer_t5.py."
)


@COMMAND.does
def main() -> None:
  """Prints users per second of beam search."""
  config, _, history = _CONFIG.read()
  peer = None
  if _PEER_PYTHON.value:
    peer = [
      _PEER_PYTHON.value,
      asked.peer_script("peer_t5.py"),
      f"--batch_size={_CONFIG.batch_size}",
      f"--num_beams={_BEAMS.value}",
      f"--items={history}",
    ]
  result = time_decoding(
    config,
    num_items=_NUM_ITEMS.value,
    num_beams=_BEAMS.value,
    batch_size=_CONFIG.batch_size,
    history=history,
    turns=_STEPS.value,
    peer=peer,
  )
  asked.print_line("decoding", asked.facts(config) | result)
