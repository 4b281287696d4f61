# SPDX-License-Identifier: Apache-2.0
"""Times search within clusters of IDs, and of all items.

    genrec bench clusters --workdir=runs/a --num_items=100000

Nearest items within the clusters of --beams IDs, from the table and from the
index, on --num_items vectors made of a trained run's.
"""

from genrec_jax.bench.clusters import time_clusters
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_VECTORS = asked.VectorFlags(COMMAND)
_BEAMS = COMMAND.integer("beams", 20, "IDs of a request; default: 20.")
COMMAND.require("workdir")


@COMMAND.does
def main() -> None:
  """Prints users per second of each way of searching."""
  result = time_clusters(num_clusters=_BEAMS.value, **_VECTORS.read())
  asked.print_line("clusters", {"device": asked.device()} | result)
