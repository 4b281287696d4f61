# SPDX-License-Identifier: Apache-2.0
"""Measures on a GPU or TPU what needs one, most valuable first.

    python scripts/accelerator.py --minutes=8 --output=runs/accelerator \
        [--data=amazon2014]
    python scripts/accelerator.py --quicktest --output=/tmp/quick

Attention by implementation and length, train steps with MFU, decoding, rankers
behind what is kept of a history, the MFU of mixed tokens and of small towers,
and with --data the training of TIGER's encoder-decoder for the rest of the
time.
Each result is a line of OUTPUT/results.jsonl as soon as it is there; the table
at the end is OUTPUT/table.txt. --parts=attention,decoding runs some of it;
--quicktest all of it in small form, on a CPU too. --workdir is the training's,
default OUTPUT/tiger; one that scripts/run.py --stop_after=tokens has filled
spares the time for it. Exits 0, or 1 where a case failed or values disagree;
cases that do not fit the device's memory are results. docs/accelerator.md says
what to install and what is written.
"""

import pathlib
import signal
import sys

from absl import app, flags

from genrec_jax.bench.accelerator import PARTS, choose, job_of, run_parts

_MINUTES = flags.DEFINE_float("minutes", 8.0, "Of all parts together.")
_OUTPUT = flags.DEFINE_string(
  "output", "runs/accelerator", "Folder of the record; must hold none."
)
_PARTS = flags.DEFINE_list("parts", [p.name for p in PARTS], "Which to run.")
_DATA = flags.DEFINE_string("data", "", "Folder of amazon2014, for training.")
_WORKDIR = flags.DEFINE_string(
  "workdir", "", "Of the training; default: OUTPUT/tiger."
)
_QUICKTEST = flags.DEFINE_bool(
  "quicktest", False, "Small shapes, for a CPU; times mean nothing."
)


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  # A run that is told to stop ends what it has started.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  scripts = pathlib.Path(__file__).resolve().parent
  try:
    job = job_of(
      _OUTPUT.value, scripts, _QUICKTEST.value, _DATA.value, _WORKDIR.value
    )
    text, good = run_parts(job, _MINUTES.value, choose(_PARTS.value))
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  print(text)
  sys.exit(0 if good else 1)


if __name__ == "__main__":
  app.run(main)
