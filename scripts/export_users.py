# SPDX-License-Identifier: Apache-2.0
"""Asks a trained model of every user, and keeps its answers for rankers.

    python scripts/export_users.py --help

is `genrec users --help`: genrec_jax/cli/users.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("users")
