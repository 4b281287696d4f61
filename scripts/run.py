# SPDX-License-Identifier: Apache-2.0
"""Does all that a config needs, in order, and skips what is up to date.

    python scripts/run.py --help

is `genrec run --help`: genrec_jax/cli/run.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("run")
