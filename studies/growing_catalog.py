# SPDX-License-Identifier: Apache-2.0
"""Measures what claims about growing catalogues say, on simulated streams.

    python studies/growing_catalog.py --workdir=runs/growing [--out=FILE]

1    tokens of items stop getting better, tokens of users do not: the excess
     error of `icr` falls less fast than that of `ucr`; "1 toy" is the same of
     means of Gaussians, computed
2    rows of a table: items grow with the days, users do not (arithmetic: the
     published 21 times after 60 days is a ratio of rates of one platform)
3    a larger width hurts `icr`, and helps `ucr`
4    where items live for ever, `icr` falls as well, and further
5    where users come and go, `ucr` falls less fast and less far (not in the
     paper; it follows from the same argument)
6    contents of bounded vocabulary in place of ids take the floor away
7    counts close part of the gap: a list knows how many clicked, an id does not

Definitions are those of arXiv 2305.15333. That item-id sequence models stop
like `icr` is not measured here. studies/growing_arms.py says what a world, an
arm and an excess error are. Verdicts rest on t intervals over seeds, of new
streams and new parameters, corrected for all claims together (Holm).

The setting was chosen on seed 0, which is no part of the verdicts, by whether
`ucr` learns within the stream; verdicts are of this setting. Before it were
2,000 users with tastes in 8 dimensions, pooled by attention, tables by Adagrad:
both arms ended near .222, click rates at .234. With 500 users, 4 dimensions,
sums, 20 visits an item and Adagrad `icr` ended at .270, BELOW `ucr` at .286;
with 300 users and 50 visits both at .295. AdamW at three times the rates: `ucr`
.20, `icr` .30; at these rates `ucr` .19, `icr` was not run.

A finished arm is kept in WORKDIR/arms and skipped by the next call. With three
seeds 51 trainings, each about ten seconds on one free CPU core. --quick has six
days of everything, and figures that mean nothing.
"""

import json
import pathlib

from absl import app, flags, logging
import jax

from genrec_jax.core import atomic
from studies import growing_arms, growing_verdicts

# Tests import several studies, and each has these.
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of what is finished.", allow_override=True
)
_ARM_SEEDS = flags.DEFINE_integer(
  "seeds", 3, "Trainings of each arm.", allow_override=True
)
_QUICK = flags.DEFINE_bool(
  "quick", False, "Six days, few items.", allow_override=True
)
_OUT = flags.DEFINE_string(
  "out", None, "JSON file to write.", allow_override=True
)
flags.mark_flag_as_required("workdir")


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  workdir = pathlib.Path(_WORKDIR.value).absolute()
  if jax.config.jax_compilation_cache_dir is None:
    # Seeds of an arm are one program.
    jax.config.update("jax_compilation_cache_dir", str(workdir / "compiled"))
  try:
    wanted = growing_arms.arms(_ARM_SEEDS.value)
    found = growing_arms.measure(wanted, workdir, quick=_QUICK.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  claims = growing_verdicts.claims(found)
  table = growing_verdicts.table(found)
  print(table)
  for name, row in claims.items():
    print(f"{name}: {json.dumps(row)}")
  atomic.write_text(workdir / "table.md", table + "\n")
  if _OUT.value:
    document = {"claims": claims, "arms": growing_verdicts.figures(found)}
    atomic.write_text(_OUT.value, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
