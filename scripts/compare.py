# SPDX-License-Identifier: Apache-2.0
"""By how much one system is better than another, over users and over seeds.

    python scripts/compare.py --help

is `genrec compare --help`: genrec_jax/cli/compare.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("compare")
