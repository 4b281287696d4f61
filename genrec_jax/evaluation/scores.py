# SPDX-License-Identifier: Apache-2.0
"""Scores on disk (scores.npz), and the paired comparison of two rankers.

    fingerprint  tasks                                of the data; names
    PART/users, /items, /events, /labels, /lengths    one entry an impression
    PART/logits/NAME                                  float32 (R, T)

PART is validation or test; NAME is `model` or a baseline. Labels are bit masks
of the tasks. Every NAME of a part scored the same impressions, so any two can
be compared, within a file or between those of two runs on the same prepared
data.
Requests may be cut otherwise in another run: impressions are matched by user
and event. Plain arrays, nothing pickled.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os

from jaxtyping import Bool, Float, Int, Shaped
import numpy as np

from genrec_jax.evaluation import column_file
from genrec_jax.evaluation.ranks import check_same_data
from genrec_jax.evaluation.shown_items_measurement import ImpressionMeasurement
from genrec_jax.metrics import score_bootstrap
from genrec_jax.metrics.bootstrap import Interval
from genrec_jax.metrics.hierarchical import Difference

_COLUMNS = ("users", "items", "events", "labels", "lengths")


@dataclasses.dataclass(frozen=True)
class Scores:
  """Logits of several rankers on several parts of one data set.

  Attributes:
    fingerprint: of the prepared data set (its manifest).
    tasks: names of the logits' columns.
    columns: "PART/users" ... and "PART/logits/NAME" -> array of that part.
  """

  fingerprint: str
  tasks: tuple[str, ...]
  columns: Mapping[str, Shaped[np.ndarray, "..."]]

  @classmethod
  def of(cls, fingerprint: str, measured: ImpressionMeasurement) -> "Scores":
    """Collects what was measured."""
    columns: dict[str, np.ndarray] = {}
    for part, by_name in measured.scored.items():
      for name, scored in by_name.items():
        for column in _COLUMNS:
          columns[f"{part}/{column}"] = getattr(scored, f"{column}_R")
        columns[f"{part}/logits/{name}"] = scored.logits_RT
    return cls(fingerprint, measured.tasks, columns)

  @property
  def parts(self) -> tuple[str, ...]:
    return column_file.parts(self.columns)

  def names(self, part: str) -> tuple[str, ...]:
    """The rankers of a part."""
    return column_file.names(self.columns, part, "logits")

  def save(self, path: str | os.PathLike) -> None:
    """Writes the file as a whole or not at all."""
    facts = {
      "fingerprint": np.array(self.fingerprint),
      "tasks": np.array(self.tasks),
    }
    column_file.save(path, facts, self.columns)

  @classmethod
  def load(cls, path: str | os.PathLike) -> "Scores":
    """Reads the file; ValueError where there is none."""
    facts, columns = column_file.load(path)
    tasks = tuple(str(task) for task in facts["tasks"])
    return cls(str(facts["fingerprint"]), tasks, columns)


def compare(
  ours: Scores, other: Scores, part: str, name: str, other_name: str
) -> dict[str, dict[str, Interval]]:
  """{task: {metric: interval of ours - other}}, users resampled.

  Tasks are those that both have.

  Raises:
    ValueError: different prepared data or impressions, no task in common, or a
      ranker that is absent.
  """
  found, users = _logits([ours], [other], part, name, other_name)
  return {
    task: score_bootstrap.paired(*one.ours, *one.theirs, one.positive, users)
    for task, one in found.items()
  }


def compare_seeds(
  ours: Sequence[Scores],
  others: Sequence[Scores],
  part: str,
  name: str,
  other_name: str,
  *,
  same_seeds: bool,
) -> dict[str, dict[str, Difference]]:
  """Of several seeds a side, over users and over both; raises as `compare`.

  See metrics/hierarchical.py of `same_seeds`.
  """
  found, users = _logits(ours, others, part, name, other_name)
  return {
    task: score_bootstrap.of_seeds(
      one.ours, one.theirs, one.positive, users, same_seeds=same_seeds
    )
    for task, one in found.items()
  }


@dataclasses.dataclass(frozen=True)
class _Task:
  """Logits of every seed of both sides, and what came of the impressions."""

  ours: list[Float[np.ndarray, "R"]]
  theirs: list[Float[np.ndarray, "R"]]
  positive: Bool[np.ndarray, "R"]


def _logits(
  ours: Sequence[Scores],
  others: Sequence[Scores],
  part: str,
  name: str,
  other_name: str,
) -> tuple[dict[str, _Task], Shaped[np.ndarray, "R"]]:
  """Of every task that all have; and whose impressions they are."""
  first = ours[0]
  for scores, wanted in (
    *((s, name) for s in ours),
    *((s, other_name) for s in others),
  ):
    check_same_data(first.fingerprint, scores.fingerprint)
    if wanted not in scores.names(part):
      raise ValueError(
        f"no scores of {wanted!r} on {part!r}; there are"
        f" {', '.join(scores.names(part)) or 'none'}"
      )
  every = (*ours, *others)
  tasks = [t for t in first.tasks if all(t in s.tasks for s in every)]
  if not tasks:
    raise ValueError(
      f"the two runs have no task in common: {', '.join(first.tasks)} and"
      f" {', '.join(others[0].tasks)}"
    )
  for scores in every:
    _check_same_impressions(first, scores, part, tasks)
  mine = _order(first, part)
  users = first.columns[f"{part}/users"][mine]
  labels = first.columns[f"{part}/labels"][mine]

  def logits(side, ranker, task):
    return [
      s.columns[f"{part}/logits/{ranker}"][_order(s, part), s.tasks.index(task)]
      for s in side
    ]

  found = {
    task: _Task(
      logits(ours, name, task),
      logits(others, other_name, task),
      (labels >> first.tasks.index(task) & 1).astype(bool),
    )
    for task in tasks
  }
  return found, users


def _check_same_impressions(
  ours: Scores, other: Scores, part: str, tasks: Sequence[str]
) -> None:
  mine, theirs = _order(ours, part), _order(other, part)
  for column in ("users", "events", "items"):
    key = f"{part}/{column}"
    if not np.array_equal(ours.columns[key][mine], other.columns[key][theirs]):
      raise ValueError(f"the two runs differ in {key}: evaluate both again")
  key = f"{part}/labels"
  for task in tasks:
    bits = [
      s.columns[key][order] >> s.tasks.index(task) & 1
      for s, order in ((ours, mine), (other, theirs))
    ]
    if not np.array_equal(*bits):
      raise ValueError(
        f"the two runs mean something else by {task!r}: their labels differ"
        " (the feedback of config.evals)."
      )


def _order(scores: Scores, part: str) -> Int[np.ndarray, "R"]:
  """Impressions by user and event."""
  return np.lexsort(
    (scores.columns[f"{part}/events"], scores.columns[f"{part}/users"])
  )
