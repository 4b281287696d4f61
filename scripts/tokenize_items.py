# SPDX-License-Identifier: Apache-2.0
"""Turns the items of a data set into codes, and reports what these are worth.

    python scripts/tokenize_items.py --help

is `genrec tokenize --help`: genrec_jax/cli/tokenize.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("tokenize")
