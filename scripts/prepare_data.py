# SPDX-License-Identifier: Apache-2.0
"""Turns a raw event log into a prepared data set, and says what it kept.

    python scripts/prepare_data.py --help

is `genrec prepare --help`: genrec_jax/cli/prepare.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("prepare")
