# SPDX-License-Identifier: Apache-2.0
"""By how much one ranker is better than another: paired, over users.

    python scripts/compare.py --ours=runs/a0,runs/a1 --theirs=runs/b0,runs/b1

Reads what scripts/evaluate.py left in workdirs of systems that score shown
items, on the same prepared data; several of a side are its seeds, and their
means are compared. Prints the differences of AUC, GAUC, NE and log loss of
every task with 95 % intervals; --json prints them as one line.
"""

import json
import pathlib

from absl import app, flags

from genrec_jax.data.splits import PARTS
from genrec_jax.metrics import bootstrap
from genrec_jax.train.impression_measurement import MODEL
from genrec_jax.train.scores import Scores, compare_means

_OURS = flags.DEFINE_list("ours", None, "Evaluated workdirs.")
_THEIRS = flags.DEFINE_list("theirs", None, "Those they are compared with.")
_PART = flags.DEFINE_enum("part", "test", list(PARTS), "Of the split.")
_JSON = flags.DEFINE_bool("json", False, "One line of JSON instead of a table.")
flags.mark_flags_as_required(["ours", "theirs"])


def differences(
  ours: list[str], theirs: list[str], part: str = "test"
) -> dict[str, dict[str, bootstrap.Interval]]:
  """{task: {metric: interval}}; ValueError where workdirs do not fit."""
  sides = [
    [Scores.load(pathlib.Path(w) / "scores.npz") for w in workdirs]
    for workdirs in (ours, theirs)
  ]
  return compare_means(*sides, part, MODEL, MODEL)


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
    found = differences(_OURS.value, _THEIRS.value, _PART.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  print(line_of(found) if _JSON.value else table_of(found))


if __name__ == "__main__":
  app.run(main)
