# SPDX-License-Identifier: Apache-2.0
"""Trains the run of a config in a workdir; the same command resumes it.

    python scripts/train.py --help

is `genrec train --help`: genrec_jax/cli/train.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("train")
