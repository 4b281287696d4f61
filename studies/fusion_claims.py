# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about codes and vectors together (COBRA, LIGER).

    python studies/fusion_claims.py --runs=full=runs/c-0,runs/c-1,runs/c-2 \
        --runs=history=runs/h-0,runs/h-1 --runs=one_beam=... [--out=FILE]

68   .3 to 6 % of the lists of a search without a trie are no item's codes
69   that share grows with depth
71   without IDs Recall@500 is 33.6 % lower
72   without vectors 27.1 % lower (printed elsewhere with another figure)
73   without fusion 33.9 % lower (likewise)
75   COBRA is above TIGER, and codes before the vector above the vector first
107d temperatures trade precision for diversity
107i better codes, better retrieval
109  codes find items without a training event, ids of their own do not
117  codes help rare items; codes of structured fields help
118  codes are searched slower than vectors
119  a generator is above a SASRec with all items in its loss
133  a second stage that tunes codes on engagement helps
149  prefixes of codes find items that nobody was trained on
30   back-off to prefixes fills the lists that few beams leave short

A role is what a run stands for, and these configs make it:

    full               cobra_amazon.py
    history, one_beam  cobra_amazon.py:history (vector first), :one_beam
    no_ids             dense_amazon.py
    no_vectors         cobra_amazon.py with --config.objective.weights.vector=0
                       and --config.retrieval.vector_scale=0.01: the same codes;
                       items that share them stand in the order of a projection
                       that nothing trained
    tiger, text_codes, no_vectors_unique
                       tiger_amazon.py:decoder_only (codes tell items apart)
    joint_codes, field_codes, tuned_codes
                       the same -collaborative, -fields, -engagement
    random_codes       the same with codes of shuffled vectors
    liger, sasrec      liger_amazon.py, sasrec_amazon.py
    generator          generator_amazon.py: its input has items beside codes
    tiger_cold, sasrec_cold, liger_cold
                       tiger, sasrec and liger with the variant cold_start;
                       tiger_cold of equal size is liger_cold's host

A role may also be files of results/, whose checkpoints are not asked. Arms that
are compared have equal steps and batches. A role's runs are the seeds
of one config, evaluated (genrec evaluate). tiger_cold's `unseen` figures are of
config.evals.decoding.users requests, drawn from those with such targets;
sasrec_cold's and liger_cold's of all of them, which LIGER has to find at twice
the rate of chance, at most .003 below its host in the others' HR@10. 118 is of
the seconds that the evaluations took, compilation included. Figures
are HR@50 or HR@10 of full ranking on test, at this size, where the published
ones are Recall@500 of millions of items: signs are compared, not figures. A
verdict rests on the t interval over seeds, paired, corrected for all claims
(Holm). For 68, 69 and 107d the checkpoints are asked again: --users of them;
--grid are the values of beam_scale, on validation users. Arms that are not
given are said.
"""

import json
import pathlib
from typing import Any

from absl import app, flags, logging

from genrec_jax.core import atomic
from genrec_jax.evaluation import SearchStages
from genrec_jax.evaluation.decoding import invalid_share
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from studies import fusion_verdicts
from studies.roles import FILE, roles_of, values_of

# Tests import several studies, and each has these two.
_RUNS = flags.DEFINE_multi_string(
  "runs", [], "ROLE=WORKDIR,WORKDIR,...", allow_override=True
)
_USERS = flags.DEFINE_integer("users", 500, "Asked of a checkpoint.")
_BEAMS = flags.DEFINE_integer("beams", 64, "Lists of a search without a trie.")
_GRID = flags.DEFINE_list(
  "grid", ["0.1", "0.3", "0.9", "2", "5"], "Values of beam_scale."
)
_OUT = flags.DEFINE_string(
  "out", None, "JSON file to write.", allow_override=True
)
_INVALID = ("full", "tiger")


def _data_of(role: str) -> str:
  """Items that are held out make other data of the same log."""
  return "cold" if role.endswith("_cold") else "all"


def _invalid(folder: str) -> tuple[int, list[float]]:
  """Seed, and shares of lists outside the catalogue by depth."""
  run = Run.open(pathlib.Path(folder))
  params = load_params(run, "best").params
  shares = invalid_share(run, params, _USERS.value, _BEAMS.value)
  return run.seed, list(shares.values())


def _grid(folder: str) -> tuple[int, list[dict[str, Any]]]:
  """Seed, and the rows of a grid over beam_scale."""
  run = Run.open(pathlib.Path(folder))
  scales = sorted(float(value) for value in _GRID.value)
  evaluator = SearchStages(
    ks=(10,),
    users=1,
    grid={"beam_scale": scales},
    grid_users=_USERS.value,
  )
  evaluator.check(run)
  section, _ = evaluator.measure(run, load_params(run, "best"))
  return run.seed, section["grid"]


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    roles = roles_of(_RUNS.value, fusion_verdicts.ROLES)
    metrics = values_of(roles, fusion_verdicts.metrics_of, _data_of)
    stored = {
      role: [run for run in runs if not run.endswith(FILE)]
      for role, runs in roles.items()
    }
    invalid = {
      role: dict(map(_invalid, stored[role]))
      for role in _INVALID
      if stored.get(role)
    }
    grids = dict(map(_grid, stored.get("full", ())))
    found = fusion_verdicts.claims(metrics, invalid, grids)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  for name, row in found.items():
    print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    atomic.write_text(_OUT.value, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
