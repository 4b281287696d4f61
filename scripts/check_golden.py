# SPDX-License-Identifier: Apache-2.0
"""Checks models and attention against golden values of the references.

    python scripts/check_golden.py tests/golden/*.npz

Files are of the formats of genrec_jax/golden: whole models (HSTU, SASRec) or
attention alone. Outputs and losses must agree to 1e-5 absolute, each gradient
to 1e-4 of its array's largest element. Exits 1 where one does not.
"""

import sys

from absl import app, logging
import jax

from genrec_jax.golden import compare


def main(argv: list[str]) -> None:
  """Compares every file named on the command line."""
  if len(argv) < 2:
    raise app.UsageError("name at least one golden .npz file.")
  logging.set_verbosity(logging.WARNING)
  jax.config.update("jax_default_matmul_precision", "highest")
  failed = False
  for path in argv[1:]:
    print(path)
    for row in compare(path):
      verdict = "ok" if row.good else "BEYOND TOLERANCE"
      print(
        f"  {row.name:58s} abs {row.error:.2e}  rel {row.relative:.2e} "
        f" {verdict}"
      )
      failed |= not row.good
  print("failed" if failed else "all within tolerance")
  sys.exit(1 if failed else 0)


if __name__ == "__main__":
  app.run(main)
