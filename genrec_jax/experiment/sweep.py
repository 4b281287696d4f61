# SPDX-License-Identifier: Apache-2.0
"""Equal tuning trials of several configs: what is drawn, and what came of it.

    trial 0       a config as it is
    trial n > 0   KEY=VALUE for every key of the space, drawn by seed and n: the
                  same for every config, however many trials there are

What a trial is worth is the best value of its config's monitor on validation,
by which training stops and keeps a checkpoint; the test part is not asked. The
record of a sweep is one JSON file, written after every trial.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import numpy as np

from genrec_jax.core import atomic
from genrec_jax.metrics.writer import read_rows
from genrec_jax.train.loop import LoopOptions

# {config's name: {number of a trial: what it was and what came of it}}
Record = dict[str, dict[str, dict[str, Any]]]
_FILE = "sweep.json"
# What configs of one sweep must have in common.
_SHARED = ("data", "split", "filter")


@dataclasses.dataclass(frozen=True)
class Option:
  """Values of one key of the config.

  Attributes:
    key: such as optimizer.learning_rate.
    values: one of which is drawn; () = a number between low and high, evenly
      by its logarithm.
    low: least number.
    high: largest number.
  """

  key: str
  values: tuple[str, ...] = ()
  low: float = 0.0
  high: float = 0.0

  @classmethod
  def of(cls, text: str) -> "Option":
    """Of KEY=VALUE,VALUE,... or KEY=LOW..HIGH.

    Raises:
      ValueError: another form, or bounds that are not 0 < LOW < HIGH.
    """
    key, _, said = text.partition("=")
    if not key or not said:
      raise ValueError(
        f"--space={text}: write KEY=VALUE,VALUE,... or KEY=LOW..HIGH."
      )
    if ".." not in said:
      return cls(key, tuple(said.split(",")))
    try:
      low, high = (float(x) for x in said.split(".."))
    except ValueError as error:
      raise ValueError(f"--space={text}: write two numbers, LOW..HIGH.") from (
        error
      )
    if not 0 < low < high < math.inf:
      raise ValueError(f"--space={text}: LOW..HIGH must be 0 < LOW < HIGH.")
    return cls(key, low=low, high=high)

  def draw(self, rng: np.random.Generator) -> str:
    """A value, as the command line has it."""
    if self.values:
      return self.values[rng.integers(len(self.values))]
    drawn = np.exp(rng.uniform(math.log(self.low), math.log(self.high)))
    return f"{drawn:.3g}"


def draws(
  space: Sequence[Option], trials: int, seed: int
) -> list[dict[str, str]]:
  """{key: value} of each trial.

  Raises:
    ValueError: no trial, a key that is there twice, or none for several trials.
  """
  keys = [option.key for option in space]
  if trials < 1:
    raise ValueError(f"--trials={trials}: a sweep needs one or more.")
  if len(set(keys)) < len(keys):
    raise ValueError(f"--space names {', '.join(keys)}: each key once.")
  if trials > 1 and not space:
    raise ValueError(f"--trials={trials} would all be the same: give --space.")
  found: list[dict[str, str]] = [{}]
  for number in range(1, trials):
    rng = np.random.default_rng([seed, number])
    found.append({option.key: option.draw(rng) for option in space})
  return found


def check_alike(configs: Mapping[str, Mapping[str, Any]]) -> None:
  """Raises a ValueError for configs that no one number compares.

  Args:
    configs: plain, by name.
  """
  first, *others = configs
  for name in others:
    ours, theirs = configs[first], configs[name]
    for part in _SHARED:
      if ours.get(part) != theirs.get(part):
        raise ValueError(
          f"{name} and {first} differ in config.{part}: sweep configs of one"
          " data set together (genrec compare --configs says in what)."
        )
    monitors = [c["train"]["monitor"] for c in (ours, theirs)]
    if monitors[0] != monitors[1]:
      raise ValueError(
        f"{first} is chosen by {monitors[0]} and {name} by {monitors[1]}: set"
        " train.monitor."
      )


def result_of(
  workdir: str | os.PathLike, monitor: str
) -> dict[str, float | int]:
  """The best validation of a training, and how long it was.

  Args:
    workdir: of the run.
    monitor: of its config.train.

  Raises:
    ValueError: it was not validated by that.
  """
  options = LoopOptions(steps=1, monitor=monitor)
  rows = read_rows(pathlib.Path(workdir) / "metrics.jsonl")
  names = [f"validation/{name}" for name in options.monitors]
  validated = [row for row in rows if all(n in row for n in names)]
  if not validated:
    raise ValueError(f"{workdir} has no validation by {monitor}.")

  def value(row):
    return options.monitored(
      {n: row[f"validation/{n}"] for n in options.monitors}
    )

  best = max(validated, key=value)
  return {
    "best": value(best),
    "best_step": best["step"],
    "steps": rows[-1]["step"],
    "seconds": round(max(row["seconds"] for row in rows), 1),
  }


def read_record(folder: pathlib.Path) -> Record:
  """Of a sweep's folder; empty where there is none yet."""
  path = folder / _FILE
  return json.loads(path.read_text()) if path.is_file() else {}


def write_record(folder: pathlib.Path, record: Record) -> None:
  """Replaces the record of a sweep's folder."""
  atomic.write_text(folder / _FILE, json.dumps(record, indent=1) + "\n")


def chosen(trials: Mapping[str, Mapping[str, Any]]) -> str | None:
  """The number of the trial with the best validation; None = none is done."""
  done = {n: one["best"] for n, one in trials.items() if "best" in one}
  return max(done, key=lambda n: (done[n], -int(n))) if done else None
