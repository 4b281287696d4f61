# SPDX-License-Identifier: Apache-2.0
"""Writes a trained run as a folder that is used without the model's code.

    python scripts/export.py --help

is `genrec export --help`: genrec_jax/cli/export.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("export")
