# SPDX-License-Identifier: Apache-2.0
"""Times or counts a part of the library and prints one JSON line.

    python scripts/bench.py PART --help

is `genrec bench PART --help`: genrec_jax/cli/bench/PART.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("bench")
