# SPDX-License-Identifier: Apache-2.0
"""Writes what people look at: the page of one run, or the tables of results.

    python scripts/report.py --help

is `genrec report --help`: genrec_jax/cli/report.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("report")
