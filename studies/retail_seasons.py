# SPDX-License-Identifier: Apache-2.0
"""Measures what ways to read times are worth in a shop's real seasons.

    python studies/retail_seasons.py --workdir=runs/retail --path=online-retail
    python studies/retail_seasons.py --workdir=runs/retail --read

Of configs/commerce_retail.py the forms no_time, bias, calendar and
bias-calendar, asked for the baskets of October to December and for those of
June and July, --seeds (3) each: 24 trainings of about 8 minutes on one free CPU
core, and a few minutes to measure each. Seed 0 of everything comes first. A
table stands beside the baselines, verdicts rest on t intervals over seeds,
paired, corrected for all of them (Holm):

5    what a way to read times adds to none
8    a relative bias alone cannot recover the season
27a  what a calendar adds to a bias

The same command goes on: an arm with a result is skipped, SIGTERM saves the one
that trains. Results are RESULTS/<config>/<seed>.json, as of genrec evaluate
--results (default WORKDIR/results): runs that were trained by hand count where
they are of the same config. --read trains nothing, and says what is not run.
Two processes share the work as --tests=october and --tests=june. --steps=500
screens. --quick has three steps on simulated data, and means nothing.
"""

import json
import pathlib

from absl import app, flags, logging
import jax

from genrec_jax.core import atomic
from genrec_jax.train.termination import Termination
from studies import retail_arms, retail_verdicts
from studies.trained_arm import Stopped

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of runs and data.")
_PATH = flags.DEFINE_string("path", "", "Folder of the invoices.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each arm.")
_TESTS = flags.DEFINE_list("tests", list(retail_arms.TESTS), "What is asked.")
_STEPS = flags.DEFINE_integer(
  "steps", None, "Of training; default the config's."
)
_RESULTS = flags.DEFINE_string("results", None, "Default: WORKDIR/results.")
_READ = flags.DEFINE_bool("read", False, "Train nothing; read what is there.")
_QUICK = flags.DEFINE_bool("quick", False, "Three steps on simulated data.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write.")
flags.mark_flag_as_required("workdir")


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  workdir = pathlib.Path(_WORKDIR.value).absolute()
  results = pathlib.Path(_RESULTS.value or workdir / "results")
  if jax.config.jax_compilation_cache_dir is None:
    # Seeds of an arm are one program.
    jax.config.update("jax_compilation_cache_dir", str(workdir / "compiled"))
  options = retail_arms.Options(_PATH.value, _STEPS.value, _QUICK.value)

  def keep(found):
    said = retail_verdicts.table(found)
    atomic.write_text(workdir / "table.md", said + "\n")

  try:
    wanted = retail_arms.arms(_TESTS.value, _SEEDS.value)
    found = retail_arms.results_of(wanted, results, options)
    if not _READ.value:
      termination = Termination().install()
      retail_arms.run_missing(
        found, workdir, results, options, termination, keep
      )
  except Stopped:
    raise SystemExit("stopped: the same command goes on.") from None
  except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
  table, claims = retail_verdicts.table(found), retail_verdicts.claims(found)
  print(table)
  for name, row in claims.items():
    print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    document = {"claims": claims, "table": table.splitlines()}
    atomic.write_text(_OUT.value, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
