# SPDX-License-Identifier: Apache-2.0
"""Recommendations of a trained run: for a user, a list of items, or everyone.

    python scripts/recommend.py --help

is `genrec recommend --help`: genrec_jax/cli/recommend.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("recommend")
