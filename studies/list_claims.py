# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about recommended lists, beyond their accuracy.

    python studies/list_claims.py --workdirs=runs/a-0,runs/a-1,runs/b-0 \
        --attribute=genres [--out=results/list_claims.json]

141  models over-exploit popular items: the lift of the first ten places'
     popularity over that of the histories
142  NDCG is blind to redundancy: two lists that it takes for equal
146  items of the long tail are served badly: recall by the popularity of the
     target, the upper half of the items that have training events minus the
     lower half

141 and 146 are of trained runs; runs of one config are its seeds. A verdict
rests on the t interval over seeds, corrected for all configs and both claims
(Holm). Baselines have no seeds: figures without a verdict. Reads what
evaluation.BeyondAccuracy measures; docs/list_claims.md has the results.
"""

from collections.abc import Sequence
import json
import pathlib

from absl import app, flags, logging

from genrec_jax.core import atomic
from genrec_jax.evaluation import BeyondAccuracy
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from studies.list_verdicts import K, Section, claims

_WORKDIRS = flags.DEFINE_list("workdirs", None, "Folders of trained runs.")
_ATTRIBUTE = flags.DEFINE_string(
  "attribute", "", "Of the items, whose values are categories; '' = none."
)
_OUT = flags.DEFINE_string("out", None, "JSON file to write.")
flags.mark_flag_as_required("workdirs")


def _measured(workdirs: Sequence[str]) -> dict[str, dict[int, Section]]:
  evaluator = BeyondAccuracy(ks=(K,), attribute=_ATTRIBUTE.value)
  sections: dict[str, dict[int, Section]] = {}
  data = set()
  for folder in workdirs:
    run = Run.open(pathlib.Path(folder))
    evaluator.check(run)
    name, seed = run.config["name"], run.config["seed"]
    data.add(run.histories.manifest.fingerprint)
    by_seed = sections.setdefault(name, {})
    if seed in by_seed or len(data) > 1:
      raise ValueError(
        f"{folder}: seed {seed} of {name} was given before, or is of other"
        " data than the rest; name each seed once, all of the same data."
      )
    by_seed[seed], _ = evaluator.measure(run, load_params(run, "best"))
  return sections


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    found = claims(_measured(_WORKDIRS.value))
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  for kind in found.values():
    for name, row in kind.items():
      print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    atomic.write_text(_OUT.value, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
