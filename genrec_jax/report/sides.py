# SPDX-License-Identifier: Apache-2.0
"""Both sides of a comparison, as they stand on disk.

    of_workdirs   evaluated workdirs: ranks.npz and scores.npz, so that users
                  are known; evaluation.json says which config and seed it is
    of_results    results/<config>/<seed>.json: metrics of every seed alone

Every workdir of a side is one seed of one config; both sides are of the same
prepared data.
"""

from collections.abc import Mapping, Sequence
import itertools
import pathlib
from typing import Any

from genrec_jax.core.suggest import choices_hint
from genrec_jax.evaluation.ranks import (
  Ranks,
  check_same_data,
  compare_seeds as compare_ranks,
)
from genrec_jax.evaluation.scores import Scores, compare_seeds as compare_scores
from genrec_jax.evaluation.shown_items_measurement import MODEL
from genrec_jax.metrics.hierarchical import Difference
from genrec_jax.report.comparison import (
  NEXT_ITEM,
  Measured,
  Name,
  Side,
  same_seeds,
)
from genrec_jax.report.runs import (
  NEXT_ITEM as FOUND,
  SHOWN_ITEMS,
  read_result,
  sections,
)

Sides = tuple[Side, Side, dict[Name, Measured]]
FROZEN = "model_frozen"
_FILES = (("ranks.npz", Ranks), ("scores.npz", Scores))
_SCORED = ("auc", "gauc", "ne", "log_loss")


def of_workdirs(
  ours: Sequence[str], theirs: Sequence[str], part: str, ranker: str
) -> Sides:
  """What all workdirs have of a ranker, with users.

  Raises:
    ValueError: they have nothing in common, it is not of the same data, or a
      side is not the seeds of one config.
  """
  (a, ours), (b, theirs) = (
    _seeds(flag, side) for flag, side in (("ours", ours), ("theirs", theirs))
  )
  same = {"same_seeds": same_seeds(a, b)}
  named = [_all_of(name, kind, ours, theirs) for name, kind in _FILES]
  names = [_names(sides, part) for sides in named]
  # One of the two kinds may know no such ranker: frozen histories are scored.
  ranks, scores = (
    sides if ranker in known else []
    for sides, known in zip(named, names, strict=True)
  )
  found: dict[str, dict[str, Difference]] = {}
  if ranks:
    found[NEXT_ITEM] = compare_ranks(*ranks, part, ranker, ranker, **same)
  if scores:
    found |= compare_scores(*scores, part, ranker, ranker, **same)
  if not found:
    _say_what_is_there(ours, theirs, part, ranker, sorted(set().union(*names)))
  measured = {
    (section, metric): Measured(
      dict(zip(a.seeds, one.ours, strict=True)),
      dict(zip(b.seeds, one.theirs, strict=True)),
      one.users,
      one.both,
    )
    for section, by_metric in found.items()
    for metric, one in by_metric.items()
  }
  return a, b, measured


def _say_what_is_there(ours, theirs, part, ranker, known) -> None:
  if known:
    raise ValueError(
      f"these workdirs have no {ranker!r} on {part!r} in common."
      + choices_hint(ranker, known)
    )
  lines = [
    f"  {workdir}: {', '.join(_files(workdir)) or 'not evaluated'}"
    for workdir in (*ours, *theirs)
  ]
  raise ValueError(
    "these workdirs have no evaluation in common:\n"
    + "\n".join(lines)
    + "\ngenrec evaluate --workdir=... writes ranks.npz for what finds"
    " items, scores.npz for what ranks shown ones."
  )


def _seeds(flag: str, workdirs: Sequence[str]) -> tuple[Side, list[str]]:
  """A side, and its workdirs by seed."""
  if not workdirs:
    raise ValueError(f"--{flag} names no workdir.")
  by_seed: dict[int, str] = {}
  configs: dict[str, str] = {}
  for workdir in workdirs:
    document = read_result(pathlib.Path(workdir) / "evaluation.json")
    seed = document["seed"]
    if seed in by_seed:
      raise ValueError(
        f"--{flag}: {by_seed[seed]} and {workdir} are both seed {seed}, and a"
        " seed counts once."
      )
    by_seed[seed] = workdir
    configs[document["config"]] = workdir
  if len(configs) > 1:
    found = ", ".join(f"{path} {name}" for name, path in configs.items())
    raise ValueError(
      f"--{flag} names several configs, {found}: a side is the seeds of one."
    )
  ordered = sorted(by_seed)
  # The seeds of one config are called alike.
  side = Side(document["config"], document["title"], tuple(ordered))
  return side, [by_seed[seed] for seed in ordered]


def _files(workdir: str) -> list[str]:
  return [n for n, _ in _FILES if (pathlib.Path(workdir) / n).is_file()]


def _all_of(
  name: str, kind: type, ours: Sequence[str], theirs: Sequence[str]
) -> list[list[Any]]:
  """The file of all workdirs of both sides; nothing where one lacks it."""
  if not all(name in _files(workdir) for workdir in (*ours, *theirs)):
    return []
  return [
    [kind.load(pathlib.Path(workdir) / name) for workdir in workdirs]
    for workdirs in (ours, theirs)
  ]


def _names(sides: list[list[Any]], part: str) -> set[str]:
  """Rankers that all files of both sides know."""
  each = [set(run.names(part)) for run in itertools.chain(*sides)]
  return set.intersection(*each) if each else set()


def of_results(
  folder: str, ours: str, theirs: str, part: str, ranker: str
) -> Sides:
  """What all finished runs of two configs have; users are not known.

  Raises:
    ValueError: as of_workdirs, or there is no such config.
  """
  if ranker not in (MODEL, FROZEN):
    raise ValueError(
      f"--results holds no {ranker!r}: give workdirs, or"
      f" --ranker={MODEL} or {FROZEN}."
    )
  sides = [_documents(folder, config) for config in (ours, theirs)]
  every = [document for side in sides for document in side.values()]
  for document in every:
    check_same_data(every[0]["fingerprint"], document["fingerprint"])
  a, b = (
    {seed: _metrics(document, part, ranker) for seed, document in side.items()}
    for side in sides
  )
  each = [*a.values(), *b.values()]
  names = [n for n in each[0] if all(n in values for values in each)]
  if not names:
    raise ValueError(
      f"{ours} and {theirs} have no metric of {ranker!r} on {part!r} in common."
    )
  measured = {
    name: Measured(*({s: v[name] for s, v in side.items()} for side in (a, b)))
    for name in names
  }
  return (
    Side(ours, every[0]["title"], tuple(a)),
    Side(theirs, every[-1]["title"], tuple(b)),
    measured,
  )


def _documents(folder: str, config: str) -> dict[int, dict[str, Any]]:
  """{seed: document} of a config, by seed."""
  root = pathlib.Path(folder)
  paths = sorted((root / config).glob("*.json"))
  if not paths:
    known = sorted({path.parent.name for path in root.glob("*/*.json")})
    raise ValueError(
      f"{folder} has no finished run of {config!r}."
      + choices_hint(config, known)
    )
  found = [read_result(path) for path in paths]
  return {d["seed"]: d for d in sorted(found, key=lambda d: d["seed"])}


def _metrics(
  document: Mapping[str, Any], part: str, ranker: str
) -> dict[Name, float]:
  """All defined metrics of one run."""
  found: dict[Name, float] = {}
  for section in sections(document):
    if section["evaluator"] == SHOWN_ITEMS:
      key = "metrics" if ranker == MODEL else "frozen"
      found |= {
        (task, name): values[name]
        for task, values in section[key].get(part, {}).items()
        for name in _SCORED
        if values[name] is not None
      }
    elif section["evaluator"] == FOUND and ranker == MODEL:
      by_name = section["metrics"].get(part, {})
      found |= {(NEXT_ITEM, name): value for name, value in by_name.items()}
  return found
