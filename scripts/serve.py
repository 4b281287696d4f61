# SPDX-License-Identifier: Apache-2.0
"""A trained run behind HTTP: lists, scores, events, versions, metrics.

    python scripts/serve.py --help

is `genrec serve --help`: genrec_jax/cli/serve.py.
"""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main("serve")
