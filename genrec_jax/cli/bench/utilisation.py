# SPDX-License-Identifier: Apache-2.0
"""Measures FLOPs and MFU of two ways of crossing features.

    genrec bench utilisation --token_width=256 [--json]

RankMixer's tokens beside a DLRM of many small towers, in FLOPs per second,
forward and with gradients. A table, or with --json one line.
"""

from genrec_jax.bench.utilisation import table, time_utilisation
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_TOKEN_WIDTH = COMMAND.integer(
  "token_width", 256, "Of a token; 768 is published; default: 256."
)
_TOWERS = COMMAND.integer("towers", 40, "Small ones; default: 40.")
_BATCH_SIZE = COMMAND.integer(
  "batch_size", 256, "Rows; default: 256.", lower_bound=1
)
_DTYPE = COMMAND.enum(
  "dtype",
  "float32",
  ["float32", "bfloat16"],
  "Of products: float32, the default, or bfloat16.",
)
_STEPS = asked.steps(COMMAND)
_JSON = COMMAND.bool("json", False, "One JSON line instead of a table.")


@COMMAND.does
def main() -> None:
  """Prints FLOPs per second of both."""
  result = time_utilisation(
    rows=(_BATCH_SIZE.value,),
    width=_TOKEN_WIDTH.value,
    dtype=_DTYPE.value,
    repeats=_STEPS.value,
    towers=_TOWERS.value,
  )
  if _JSON.value:
    asked.print_line("utilisation", {"device": asked.device()} | result)
  else:
    print(table(result))
