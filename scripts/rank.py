# SPDX-License-Identifier: Apache-2.0
"""What a user would do with given items, by a trained ranker.

    python scripts/rank.py --help

is `genrec rank --help`: genrec_jax/cli/rank.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("rank")
