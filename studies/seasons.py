# SPDX-License-Identifier: Apache-2.0
"""Measures what claims about times and seasons say, where the season is known.

    python studies/seasons.py --workdir=runs/seasons [--out=FILE] [--seeds=5]

5    InfoNCE is the sampled softmax of uniform negatives
6    a rotary score depends on differences of times alone
7    rotary time gives the absolute season
8    a relative bias alone cannot recover the season
9    rotary time and a relative bias complement each other
10   half a year apart slow pairs are opposite, a year apart they are the same
11   frequencies 1, 1/10, 1/100, ... 1e-7 over 64 pairs
27a  where the season is weak, a relative bias is enough
27f  a bias of time buckets learns recency and breaks of sessions: above none,
     and above itself where the gaps of a history change places

5, 6, 10 and 11 are computed (studies/season_identities.py), the others rest on
trainings of a tiny HSTU on simulated shoppers (studies/season_arms.py), by t
intervals over seeds, of new parameters and new data, corrected for all claims
together (Holm). A table of all arms stands beside the true model's.

A finished arm is kept in WORKDIR/arms and skipped by the next call; SIGTERM
saves the one that trains. With five seeds 145 trainings and 30 true models,
each training under a minute on one free CPU core. --quick has one step of
everything, and figures that mean nothing.
"""

import json
import pathlib
import sys

from absl import app, flags, logging
import jax
from tqdm import tqdm

from genrec_jax.core import atomic
from genrec_jax.train.termination import Termination
from studies import season_arms, season_identities, season_verdicts
from studies.trained_arm import Stopped

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of what is finished.")
_ARM_SEEDS = flags.DEFINE_integer("seeds", 5, "Trainings of each arm.")
_QUICK = flags.DEFINE_bool("quick", False, "Few users, three steps.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write.")
flags.mark_flag_as_required("workdir")


def measure(
  workdir: pathlib.Path, seeds: int, *, quick: bool
) -> season_verdicts.Found:
  """Runs all arms that are not finished, with a bar.

  Raises:
    ValueError: no seed, or an arm of another config.
    season_arms.Stopped: a signal came.
  """
  wanted = season_arms.arms(seeds)
  termination = Termination().install()
  found: season_verdicts.Found = {}
  with tqdm(total=len(wanted), unit="arm", file=sys.stderr) as bar:
    for arm in wanted:
      bar.set_description(arm.name)
      one = season_arms.measured(arm, workdir, quick=quick)
      if one is None:
        one = season_arms.run(arm, workdir, termination, quick=quick)
      found.setdefault((arm.kind, arm.share, arm.arm), {})[arm.seed] = one
      bar.update()
  return found


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
    found = measure(workdir, _ARM_SEEDS.value, quick=_QUICK.value)
  except Stopped:
    raise SystemExit("stopped: the same command goes on.") from None
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  claims = season_identities.claims() | season_verdicts.claims(found)
  table = season_verdicts.table(found)
  print(table)
  for name, row in claims.items():
    print(f"{name}: {json.dumps(row)}")
  atomic.write_text(workdir / "table.md", table + "\n")
  if _OUT.value:
    document = {"claims": claims, "arms": season_verdicts.figures(found)}
    atomic.write_text(_OUT.value, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
