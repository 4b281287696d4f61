# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about the rankers of industry, of what was run.

    python studies/industry_claims.py --list [--only=86,136]   what to run
    python studies/industry_claims.py [--out=FILE]             what it says

50   items that are born keep an item's vectors from becoming good, users' do
51   item tables grow with time: 21 times those of users after 60 days
52   a larger width hurts where items are tokens, and helps where users are
56   a signal costs the same in a sequence and by impression
57   a generative signal says more
86   a history that sees all of itself loses .01 of AUC, more in larger models
94   content is worth twice as much in a sequence model
95   hand-made counts do nothing, statistics of windows help
103  generative models have no parameters by item
111  counts as tokens of their percentile can be read
120  LinkedIn's ranker: its head, places, attention, counts
122  a user model gets better by a law of its size
123  its answers help an existing ranker
128  mixed tokens use ten times as much of a device as a DLRM
129  70 times the parameters at the same latency
130  mixing without parameters takes the place of attention
136  groups of events cost less (-42.8 % of FLOPs) and lose nothing
137  an encoder trained in the ranker beats one trained before it
147  answers of a user model may be computed before
aim  one of these rankers is above DCN-v2 on long views

Nothing is trained here. Runs are read from --runs (RUNS/ROLE-SEED, of
studies/industry_runs.py) and --results, what other studies and scripts/bench.py
found from JSON files in --runs, and what is not there is said to be "not run";
--list prints the command of each, for --seeds seeds. A verdict on trained
models rests on the t interval over seeds, paired, all of them corrected
together (Holm); those of other studies are corrected among their own. Published
figures are of their authors' logs: signs are compared, not figures.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any

from absl import app, flags

from genrec_jax.core import atomic
from studies import growing_verdicts, industry_arithmetic, industry_runs
from studies.industry_verdicts import judged, roles_of
from studies.verdicts import Result

# Tests import several studies, and each has some of these.
_RUNS = flags.DEFINE_string(
  "runs", "runs/industry", "Folder of runs and files.", allow_override=True
)
_RESULTS = flags.DEFINE_string(
  "results", "results", "Folder of finished runs; '' = none."
)
_LOG = flags.DEFINE_string("log", "kuairand-pure", "Folder of the log.")
_LIST = flags.DEFINE_bool("list", False, "Print commands, and judge nothing.")
_ONLY = flags.DEFINE_list(
  "only", [], "Numbers of claims; default: all.", allow_override=True
)
_SEEDS = flags.DEFINE_integer(
  "seeds", 3, "Runs of a role.", allow_override=True
)
_OUT = flags.DEFINE_string(
  "out", None, "JSON file to write.", allow_override=True
)


@dataclasses.dataclass(frozen=True)
class Study:
  """What another program finds.

  Attributes:
    file: that it is asked to write, in --runs.
    command: of it; {runs} is that folder.
    claims: what they are called here -> what they are called there.
  """

  file: str
  command: str
  claims: Mapping[str, str]


STUDIES = (
  Study(
    "growing.json",
    "python studies/growing_catalog.py --workdir={runs}/growing"
    " --out={runs}/growing.json",
    {
      "50 errors of items stop falling, simulated": "1",
      "50 not where items live for ever, simulated": "4",
      "50 users who come and go stop as well, simulated": "5",
      "52 width hurts items as tokens, simulated": "3 icr",
      "52 width helps users as tokens, simulated": "3 ucr",
    },
  ),
  Study(
    "ranking.json",
    "python studies/ranking_claims.py --only=56,57,94,95"
    " --out={runs}/ranking.json",
    {
      "56 a signal costs the same": "56",
      "57 a generative signal says more": "57",
      "94 content is worth twice as much, simulated": "94",
      "95 windows help and static counts do not, simulated": "95",
    },
  ),
  Study(
    "crosses.json",
    "python studies/feature_crosses.py --out={runs}/crosses.json",
    {
      "130 mixing close to attention, simulated": "130 close to attention",
      "130 mixing far above none, simulated": "130 far above none",
    },
  ),
)
UTILISATION = Study(
  "utilisation.json",
  "python scripts/bench.py utilisation --json > {runs}/utilisation.json",
  {"128 mixed tokens use a device": ""},
)
SERVED = Study(
  "served.json",
  "python scripts/bench.py served_rankers --json > {runs}/served.json",
  {"136 what is kept of a history serves": ""},
)
NOT_SHIPPED = {
  "111 percentiles as tokens": "not run: content.PercentileWords is built, and"
  " no config reads it",
}


def of_studies(runs: pathlib.Path) -> dict[str, Result]:
  """What other studies found, or how to have them find it."""
  found: dict[str, Result] = {}
  for study in STUDIES:
    path = runs / study.file
    if not path.is_file():
      said = {"verdict": f"not run: {study.command.format(runs=runs)}"}
      found |= dict.fromkeys(study.claims, said)
      continue
    document = json.loads(path.read_text())
    claims = document.get("claims", document)
    for ours, theirs in study.claims.items():
      found[ours] = claims.get(
        theirs, {"verdict": f"not run: {path} has no claim {theirs!r}"}
      )
  return found


def of_bench(runs: pathlib.Path) -> dict[str, Result]:
  """What was timed: of one machine, and so no verdict on others."""
  found: dict[str, Result] = {}
  for study, read in ((UTILISATION, _utilisation), (SERVED, _served)):
    (name,) = study.claims
    path = runs / study.file
    if path.is_file():
      found[name] = read(json.loads(path.read_text()))
    else:
      said = f"not run: {study.command.format(runs=runs)}"
      found[name] = {"verdict": said}
  return found


def _utilisation(document: Mapping[str, Any], asked: float = 5.0) -> Result:
  ratios = document["rate_of_mixed_tokens_over_small_towers"]
  known = [ratio for ratio in ratios.values() if ratio is not None]
  much = bool(known) and min(known) >= asked
  return {
    "verdict": f"{'seen' if much else 'not seen'} on {document['device']}",
    "rests_on": "medians of one machine",
    "rate_of_mixed_tokens_over_small_towers": ratios,
    "published": 10.0,
  }


def _served(document: Mapping[str, Any]) -> Result:
  speeds = {
    name: {
      count: round(row["kept_per_second"] / row["recomputed_per_second"], 1)
      for count, row in ranker["candidates"].items()
    }
    for name, ranker in document["rankers"].items()
  }
  faster = all(x > 1 for by_count in speeds.values() for x in by_count.values())
  return {
    "verdict": f"{'seen' if faster else 'not seen'} on {document['device']}",
    "rests_on": "medians of one machine",
    "kept_over_recomputed": speeds,
  }


def computed() -> dict[str, Result]:
  """What is arithmetic."""
  return {
    "50 toy of means": growing_verdicts.toy(),
    "51 item tables grow": industry_arithmetic.growth(),
    "103 parameters by item": industry_arithmetic.parameters_by_items(
      industry_arithmetic.counted_parameters()
    ),
    "129 70 times the parameters": industry_arithmetic.latency(),
    "136 FLOPs of groups": industry_arithmetic.merged_flops(),
  }


def numbered(
  found: Mapping[str, Result], numbers: Sequence[str]
) -> dict[str, Result]:
  """Claims by number, of those that are asked for; none = all."""

  def number(name):
    return name.split()[0].rstrip(":")

  def order(name):
    text = number(name)
    return (0, int(text)) if text.isdigit() else (1, 0)

  kept = [n for n in found if not numbers or number(n) in numbers]
  return {name: found[name] for name in sorted(kept, key=order)}


def commands(values: industry_runs.Values, numbers: Sequence[str]) -> list[str]:
  """What these claims lack: studies that left no file, then runs."""
  runs = pathlib.Path(_RUNS.value)
  wanted = [
    study.command.format(runs=runs)
    for study in (*STUDIES, UTILISATION, SERVED)
    if numbered(dict.fromkeys(study.claims, {}), numbers)
    and not (runs / study.file).is_file()
  ]
  return wanted + industry_runs.missing(
    roles_of(numbers), values, _SEEDS.value, _RUNS.value, _LOG.value
  )


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  try:
    values = industry_runs.read_values(_RUNS.value, _RESULTS.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  if _LIST.value:
    print("\n".join(commands(values, _ONLY.value)))
    return
  runs = pathlib.Path(_RUNS.value)
  found = computed() | of_studies(runs) | of_bench(runs) | judged(values)
  found |= {name: {"verdict": said} for name, said in NOT_SHIPPED.items()}
  found = numbered(found, _ONLY.value)
  if not found:
    raise app.UsageError(
      f"--only={','.join(_ONLY.value)}: no claim is called so."
    )
  for name, row in found.items():
    print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    atomic.write_text(_OUT.value, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
