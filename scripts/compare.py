# SPDX-License-Identifier: Apache-2.0
"""By how much one system is better than another: paired, over users.

    python scripts/compare.py --ours=runs/a0,runs/a1 --theirs=runs/b0,runs/b1

Reads what scripts/evaluate.py left in workdirs on the same prepared data:
scores of shown items, ranks of next items, or both; several of a side are its
seeds, and their means are compared. Prints the differences of AUC, GAUC, NE and
log loss of every task, and of HR@k, NDCG@k and MRR of the next item, with 95 %
intervals; --json prints them as one line. --ranker=model_frozen compares what
rankers say behind histories that end where the part begins.
"""

import itertools
import json
import pathlib
from typing import Any

from absl import app, flags

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.ranks import Ranks, compare_means as compare_ranks
from genrec_jax.evaluation.scores import Scores, compare_means as compare_scores
from genrec_jax.evaluation.shown_items_measurement import MODEL
from genrec_jax.metrics import bootstrap

_OURS = flags.DEFINE_list("ours", None, "Evaluated workdirs.")
_THEIRS = flags.DEFINE_list("theirs", None, "Those they are compared with.")
_PART = flags.DEFINE_enum("part", "test", list(PARTS), "Of the split.")
_RANKER = flags.DEFINE_string(
  "ranker",
  MODEL,
  "Whose scores or ranks of a workdir: model, model_frozen, ...",
)
_JSON = flags.DEFINE_bool("json", False, "One line of JSON instead of a table.")
flags.mark_flags_as_required(["ours", "theirs"])

_FILES = (("ranks.npz", Ranks), ("scores.npz", Scores))


def differences(
  ours: list[str], theirs: list[str], part: str = "test", ranker: str = MODEL
) -> dict[str, dict[str, bootstrap.Interval]]:
  """{task or "next item": {metric: interval}}, of what all workdirs have.

  Raises:
    ValueError: they have nothing in common, or it is not of the same data.
  """
  found = {}
  _check_sides(ours, theirs)
  named = [_all_of(name, kind, ours, theirs) for name, kind in _FILES]
  names = [_names(sides, part) for sides in named]
  # One of the two kinds may know no such ranker: frozen histories are scored.
  ranks, scores = (
    sides if ranker in known else []
    for sides, known in zip(named, names, strict=True)
  )
  if ranks:
    found["next item"] = compare_ranks(*ranks, part, ranker, ranker)
  if scores:
    found |= compare_scores(*scores, part, ranker, ranker)
  known = sorted(set().union(*names))
  if not found and known:
    raise ValueError(
      f"these workdirs have no {ranker!r} on {part!r} in common."
      + choices_hint(ranker, known)
    )
  if not found:
    lines = [
      f"  {workdir}: {', '.join(_files(workdir)) or 'not evaluated'}"
      for workdir in (*ours, *theirs)
    ]
    raise ValueError(
      "these workdirs have no evaluation in common:\n"
      + "\n".join(lines)
      + "\nscripts/evaluate.py --workdir=... writes ranks.npz for what finds"
      " items, scores.npz for what ranks shown ones."
    )
  return found


def _check_sides(ours: list[str], theirs: list[str]) -> None:
  for flag, side in (("ours", ours), ("theirs", theirs)):
    if not side:
      raise ValueError(f"--{flag} names no workdir.")
    for workdir in side:
      if side.count(workdir) > 1:
        raise ValueError(f"--{flag} names {workdir} twice: a seed counts once.")


def _files(workdir: str) -> list[str]:
  return [n for n, _ in _FILES if (pathlib.Path(workdir) / n).is_file()]


def _all_of(
  name: str, kind: type, ours: list[str], theirs: list[str]
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


def line_of(found: dict[str, dict[str, bootstrap.Interval]]) -> str:
  """One line of JSON: {task: {metric: [difference, low, high]}}."""
  return json.dumps(
    {
      task: {name: [i.mean, i.low, i.high] for name, i in metrics.items()}
      for task, metrics in found.items()
    }
  )


def table_of(found: dict[str, dict[str, bootstrap.Interval]]) -> str:
  """A line per task and metric."""
  return "\n".join(
    f"{task:14}{name:>10}{i.mean:>+10.4f}  [{i.low:+.4f}, {i.high:+.4f}]"
    + ("  excludes 0" if bootstrap.excludes_zero(i.low, i.high) else "")
    for task, metrics in found.items()
    for name, i in metrics.items()
  )


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  try:
    found = differences(_OURS.value, _THEIRS.value, _PART.value, _RANKER.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  print(line_of(found) if _JSON.value else table_of(found))


if __name__ == "__main__":
  app.run(main)
