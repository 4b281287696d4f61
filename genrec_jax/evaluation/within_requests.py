# SPDX-License-Identifier: Apache-2.0
"""AUC within each request: whether what was shown together is in order.

    config.evals.requests = {"name": "evaluation.WithinRequests",
                             "feedback": {...}}

    qauc         sum_r n_r AUC_r / sum_r n_r     n_r: impressions of a request
    qauc_plain   mean_r AUC_r

over the requests with both outcomes; those of one class have no AUC, are left
out, and are counted. A search calls it the AUC of a query (QAUC). Histories are
those of the time (shown_items.py also has frozen ones), and users have no say:
who clicks more than others is no help here.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

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
)
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.metrics.auc import areas_by_user, weighted_area


def request_metrics(scored: Scored, task: int) -> dict[str, float | int | None]:
  """Of the requests of scored impressions, behind histories of the time.

  Args:
    scored: a user's history before a request is as long as no other's.
    task: number of the task.
  """
  pairs = np.stack([scored.users_R, scored.lengths_R], axis=1)
  _, request_R = np.unique(pairs, axis=0, return_inverse=True)
  areas, counts = areas_by_user(
    scored.logits_RT[:, task], scored.positive(task), request_R.reshape(-1)
  )
  there = np.isfinite(areas)
  return {
    "qauc": weighted_area(areas, counts),
    "qauc_plain": float(areas[there].mean()) if there.any() else None,
    "requests": int(there.sum()),
    "one_class_requests": int((~there).sum()),
    "one_class_impressions": int(counts[~there].sum()),
  }


@dataclasses.dataclass(frozen=True)
class WithinRequests(Unwatched):
  """See the module docstring.

  Attributes:
    feedback: what is predicted, the same as the layout's.
  """

  feedback: Feedback

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where there is nothing to score."""
    del watched
    check_feedback(run, self.feedback, "evaluation.WithinRequests")

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """{"metrics": {PART: {TASK: {"qauc", "qauc_plain", "requests", ..}}}}."""
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
      scored = score_all(score, impressions, f"{part} requests")
      found[part] = {
        task: request_metrics(scored, number)
        for number, task in enumerate(self.feedback.tasks)
      }
    return {"metrics": found}, None

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    lines = []
    for part, tasks in document["metrics"].items():
      for task, found in tasks.items():
        if found["qauc"] is None:
          said = "not defined"
        else:
          said = f"{found['qauc']:.4f}, plain {found['qauc_plain']:.4f}"
        lines.append(
          f"{part}: AUC of {task} within requests {said};"
          f" {found['requests']:,} with both outcomes,"
          f" {found['one_class_requests']:,} without"
        )
    return "\n".join(lines)
