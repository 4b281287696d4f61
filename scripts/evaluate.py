# SPDX-License-Identifier: Apache-2.0
"""Measures a trained run in every way that its config.evals names.

    python scripts/evaluate.py --help

is `genrec evaluate --help`: genrec_jax/cli/evaluate.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("evaluate")
