# SPDX-License-Identifier: Apache-2.0
"""Compiles a config's steps for a TPU slice that nobody has, and costs them.

    python scripts/compile_tpu.py --help

is `genrec compile --help`: genrec_jax/cli/compile.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("compile")
