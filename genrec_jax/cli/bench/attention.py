# SPDX-License-Identifier: Apache-2.0
"""Counts what the TPU compiler schedules for attention.

    genrec bench attention --topology=v5e:2x2 --length=4096 [--json]

Of this library's attention, plain and with the roles of rankers, and of JAX's
splash attention. It needs libtpu (the extra `aot`) and no TPU: any machine will
do. A table, or with --json one line.
"""

from genrec_jax.bench.attention import attention_bench, table
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command

COMMAND = Command(__doc__)
_TOPOLOGY = COMMAND.string(
  "topology", "v5e:2x2", "Chip and shape; default: v5e:2x2."
)
_LENGTH = COMMAND.integer("length", 4096, "Events of a row; default: 4,096.")
_HEADS = COMMAND.integer("heads", 2, "Heads; default: 2.")
_WIDTH = COMMAND.integer("width", 128, "Of a head; default: 128.")
_SPLASH_BLOCK = COMMAND.integer(
  "splash_block",
  512,
  "Queries and keys of splash's blocks; 0 leaves splash out; default: 512.",
)
_ROLES = COMMAND.bool("roles", True, "With the roles of rankers too.")
_JSON = COMMAND.bool("json", False, "One JSON line instead of a table.")


@COMMAND.does
def main() -> None:
  """Prints bundles of attention kernels."""
  result = attention_bench(
    _TOPOLOGY.value,
    _LENGTH.value,
    _HEADS.value,
    _WIDTH.value,
    _SPLASH_BLOCK.value,
    _ROLES.value,
  )
  if _JSON.value:
    asked.print_line("attention", result)
  else:
    print(table(result))
