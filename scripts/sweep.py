# SPDX-License-Identifier: Apache-2.0
"""Gives each of several configs the same tuning trials.

    python scripts/sweep.py --help

is `genrec sweep --help`: genrec_jax/cli/sweep.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("sweep")
