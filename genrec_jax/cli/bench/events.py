# SPDX-License-Identifier: Apache-2.0
"""Writes the events of a run, for a peer to be trained on.

    genrec bench events --workdir=runs/a --output=events.parquet

scripts/peer_rectools.py reads them.
"""

from genrec_jax.bench.recommend import write_events
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command
from genrec_jax.data.dataset.histories import Histories

COMMAND = Command(__doc__)
_WORKDIR = COMMAND.string("workdir", None, "Folder of the run.")
_OUTPUT = COMMAND.string("output", None, "Parquet file to write.")
COMMAND.require("workdir", "output")


@COMMAND.does
def main() -> None:
  """Writes them and prints how many there are."""
  histories = Histories(f"{_WORKDIR.value}/data")
  asked.print_line("events", write_events(histories, _OUTPUT.value))
