# SPDX-License-Identifier: Apache-2.0
"""Times ScaNN, tuned to a recall, against exact search.

    genrec bench scann --workdir=runs/a --recall=0.95

The --recall is that of exact search's first --k, on --num_items vectors made of
a trained run's.
"""

from genrec_jax.bench.approximate import time_approximate
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_VECTORS = asked.VectorFlags(COMMAND)
COMMAND.require("workdir")


@COMMAND.does
def main() -> None:
  """Prints recall and speed of both."""
  result = time_approximate(**_VECTORS.read())
  asked.print_line("scann", {"device": asked.device()} | result)
