# SPDX-License-Identifier: Apache-2.0
"""Shown items and what users did with them: what rankers are measured by.

    config.evals.shown_items = {"name": "evaluation.ShownItems",
                                "feedback": {...}}

    auc/TASK, gauc/TASK, negative_ne/TASK, and auc, gauc, negative_ne: the
    means over tasks, of the validation part             higher is better

Every labelled impression is scored (scored.py); what is measured of a finished
run says shown_items_measurement.py, and what stands of it in the results
shown_items_results.py. A metric that is not defined is left out, with the mean
that it belongs to; training may not watch it. The scores are kept for paired
comparisons.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import pathlib
from typing import Any, ClassVar

import numpy as np

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import Impressions, iter_impressions
from genrec_jax.evaluation import shown_items_results as results
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.scored import (
  Scored,
  check_feedback,
  score_all,
  scorer,
  task_metrics,
)
from genrec_jax.evaluation.scores import Scores
from genrec_jax.evaluation.shown_items_measurement import measure_impressions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.ranking.utility import ValueFunction

METRICS = ("auc", "gauc", "negative_ne")


@dataclasses.dataclass(frozen=True)
class ShownItems(Unwatched):
  """Scores the labelled impressions.

  Attributes:
    feedback: what is predicted, the same as the layout's.
  """

  feedback: Feedback

  file: ClassVar[str] = "scores.npz"

  @property
  def names(self) -> tuple[str, ...]:
    """What training may watch."""
    tasks = self.feedback.tasks
    return (*METRICS, *(f"{m}/{task}" for m in METRICS for task in tasks))

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where there is nothing to score or to watch."""
    check_feedback(run, self.feedback, "evaluation.ShownItems")
    ValueFunction.of(self.feedback.tasks, run.config["value"])
    if not watched:
      return

    def nothing(impressions):
      shape = (*impressions.candidates.shape, self.feedback.num_tasks)
      return np.zeros(shape, np.float32)

    found = self.metrics(score_all(nothing, self._impressions(run)))
    for name in watched:
      if name not in found:
        raise ValueError(
          f"config.train.monitor={run.train.monitor!r}: {name!r} is not"
          " defined on the validation part: its impressions, or those of every"
          " user, are all positive or all negative. Defined:"
          f" {', '.join(found) or 'none'}."
        )

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """The metrics of these parameters; those not defined are left out."""
    score = scorer(run, params, program)
    return self.metrics(score_all(score, self._impressions(run)))

  def metrics(self, scored: Scored) -> dict[str, float]:
    """By name, as config.train.monitor has them."""
    found: dict[str, dict[str, float]] = {name: {} for name in METRICS}
    for number, task in enumerate(self.feedback.tasks):
      values = task_metrics(scored, number)
      ne = values["ne"]
      values["negative_ne"] = None if ne is None else -ne
      for name in METRICS:
        if values[name] is not None:
          found[name][task] = values[name]
    result = {}
    for name, by_task in found.items():
      if len(by_task) == self.feedback.num_tasks:
        result[name] = float(np.mean(list(by_task.values())))
      result |= {f"{name}/{task}": v for task, v in by_task.items()}
    return result

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], Scores]:
    """The section of shown_items_results.py, and the scores."""
    measured = measure_impressions(run, loaded.params, with_baselines=baselines)
    scores = Scores.of(run.histories.manifest.fingerprint, measured)
    return results.section(run, measured, scores), scores

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    return results.table(document)

  def differences(
    self, ours: pathlib.Path, theirs: pathlib.Path
  ) -> dict[str, Any]:
    """{PART: {TASK: {METRIC: [ours - theirs, low, high]}}}."""
    a, b = Scores.load(ours / self.file), Scores.load(theirs / self.file)
    return {part: results.differences(a, b, part) for part in a.parts}

  def comparison_text(self, against: Mapping[str, Any]) -> str:
    """Such differences as lines for a terminal."""
    return results.comparison_table(against)

  def _impressions(self, run: Run) -> Iterator[Impressions]:
    return iter_impressions(
      run.histories,
      "validation",
      self.feedback,
      run.requests.batch_size,
      run.pipeline.layout.num_candidates,
      max_users=run.train.eval_users,
      seed=run.seed,
    )
