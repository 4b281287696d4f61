# SPDX-License-Identifier: Apache-2.0
"""`python -m genrec_jax.cli train ...` is `genrec train ...`."""

from genrec_jax.cli.main import main

if __name__ == "__main__":
  main()
