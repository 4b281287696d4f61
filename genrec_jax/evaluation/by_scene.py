# SPDX-License-Identifier: Apache-2.0
"""Shown items apart by where they were shown: what one surface is worth.

    config.evals.scenes = {"name": "evaluation.ByScene", "feedback": {...}}

    auc/SCENE  gauc/SCENE  ne/SCENE ..   of each task, and impressions

A model that all surfaces share and one that was trained further on a surface of
its own are compared on the impressions of that surface. Histories are those of
the time, of all surfaces (shown_items.py). A metric that is not defined, for
lack of a positive, is None; impressions of no known scene are left out.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.scored import (
  Scored,
  check_feedback,
  score_all,
  scorer,
  task_metrics,
)
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded


@dataclasses.dataclass(frozen=True)
class ByScene(Unwatched):
  """See the module docstring.

  Attributes:
    feedback: what is predicted, the same as the layout's.
  """

  feedback: Feedback

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where there is nothing to score, or no scene."""
    del watched
    check_feedback(run, self.feedback, "evaluation.ByScene")
    if not run.histories.manifest.scenes[1:]:
      raise ValueError(
        "evaluation.ByScene tells items by where they were shown, and the data"
        " set says it of none: map a scene column (config.data), or leave it"
        " out."
      )

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """{"metrics": {PART: {SCENE: {TASK: {"auc", ..}, "impressions"}}}}."""
    del baselines
    score, found = scorer(run, loaded.params), {}
    for part in PARTS:
      impressions = iter_impressions(
        run.histories,
        part,
        self.feedback,
        run.requests.batch_size,
        run.pipeline.layout.num_candidates,
      )
      scored = score_all(score, impressions, f"{part} by scene")
      found[part] = self.by_scene(scored, _scenes(run, scored), run)
    return {"metrics": found}, None

  def by_scene(
    self, scored: Scored, scene_R: Int[np.ndarray, "R"], run: Run
  ) -> dict[str, dict[str, Any]]:
    """Metrics of the impressions of each scene that has any.

    Args:
      scored: impressions.
      scene_R: number of each one's scene; 0 = not known.
      run: whose data set names the scenes.
    """
    found = {}
    for number, name in enumerate(run.histories.manifest.scenes):
      mine_R = scene_R == number
      if not number or not mine_R.any():
        continue
      found[name] = {
        task: task_metrics(scored, t, mine_R)
        for t, task in enumerate(self.feedback.tasks)
      }
      found[name]["impressions"] = int(mine_R.sum())
    return found

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for part, scenes in document["metrics"].items():
      for scene, values in scenes.items():
        said = [
          f"{task} {_said(values[task]['auc'])}" for task in self.feedback.tasks
        ]
        lines.append(
          f"{part}, scene {scene}, {values['impressions']:,} impressions: AUC "
          + ", ".join(said)
        )
    return "\n".join(lines)


def _scenes(run: Run, scored: Scored) -> np.ndarray:
  """Where each impression was shown; users stand one behind the other."""
  scene_R = np.zeros(len(scored.users_R), np.int32)
  begins = np.flatnonzero(np.diff(scored.users_R, prepend=-1))
  ends = np.append(begins, len(scene_R))[1:]
  for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
    scenes = run.histories[int(scored.users_R[begin])]["scene"]
    scene_R[begin:end] = scenes[scored.events_R[begin:end]]
  return scene_R


def _said(value: float | None) -> str:
  return "not defined" if value is None else f"{value:.4f}"
