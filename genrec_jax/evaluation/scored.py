# SPDX-License-Identifier: Apache-2.0
"""Shown items and what a model says of them: logits of labelled impressions.

Impressions are data/dataset/impressions.py's, one batch of requests at a time
through the layout's impression_batch and the model's score. A metric that is
not defined (no positive of a task among the impressions) is None.
"""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Any

import jax
from jaxtyping import Bool, Float, Int
import numpy as np
from tqdm import tqdm

from genrec_jax.core import finite, seams, sharding
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.experiment.experiment import Run
from genrec_jax.metrics.auc import AucMetrics
from genrec_jax.metrics.pointwise import PointwiseMetrics


@dataclasses.dataclass(frozen=True)
class Scored:
  """Impressions one after the other, and a ranker's logits.

  Attributes:
    logits_RT: of every impression and task.
    labels_R: bit masks.
    users_R, items_R: whose, and of what.
    events_R: position in the user's record.
    lengths_R: events before the request.
    num_requests: rows that were scored.
  """

  logits_RT: Float[np.ndarray, "R T"]
  labels_R: Int[np.ndarray, "R"]
  users_R: Int[np.ndarray, "R"]
  items_R: Int[np.ndarray, "R"]
  events_R: Int[np.ndarray, "R"]
  lengths_R: Int[np.ndarray, "R"]
  num_requests: int

  def positive(self, task: int) -> Bool[np.ndarray, "R"]:
    """Whether the user did what a task asks for."""
    return (self.labels_R >> task & 1).astype(bool)


Scorer = Callable[[Impressions], Float[np.ndarray, "B N T"]]


def check_feedback(run: Run, feedback: Feedback, evaluator: str) -> None:
  """Raises a ValueError where a run scores no items, or predicts other things.

  Args:
    run: what is evaluated.
    feedback: what the evaluator measures.
    evaluator: its name in configs.
  """
  seams.require(run.system, seams.ScoreModel, "config.system")
  layout = run.pipeline.layout
  seams.require(layout, seams.ImpressionLayout, "config.pipeline.layout")
  if layout.feedback != feedback:
    raise ValueError(
      f"the feedback of {evaluator} is {feedback}, and that of"
      f" config.pipeline.layout {layout.feedback}: make them the same."
    )


def scorer(run: Run, params: Any, program: Any = None) -> Scorer:
  """The model as a ranker of impressions, at most a batch at a time.

  Args:
    run: whose layout makes the batches.
    params: parameters, as the program places them.
    program: None for copies on this process's devices.
  """
  program = run.program() if program is None else program
  layout, size = run.pipeline.layout, run.requests.batch_size

  def score(impressions: Impressions) -> Float[np.ndarray, "B N T"]:
    batch = layout.impression_batch(impressions.padded(size))
    batch = sharding.put(batch, program.request_sharding)
    with program.in_force():
      logits = jax.device_get(program.score(params, batch))
    logits = logits[: len(impressions)].astype(np.float32)
    finite.check_scores(np.abs(logits))
    return logits

  return score


def score_all(
  score: Scorer,
  impressions: Iterable[Impressions],
  progress: str | None = None,
) -> Scored:
  """Scores batches of impressions; padding is left out.

  Raises:
    ValueError: no impressions, or logits of another shape than the candidates'.
  """
  columns, requests = [], 0
  with tqdm(
    desc=progress, unit=" requests", disable=progress is None, delay=2,
    leave=False,
  ) as bar:  # fmt: skip
    for batch in impressions:
      logits = score(batch)
      if logits.shape[:2] != batch.candidates.shape:
        raise ValueError(
          f"the system's score returned {logits.shape}; expected (requests,"
          f" candidates, tasks) with {batch.candidates.shape} first."
        )
      columns.append(_columns(batch, logits))
      requests += len(batch)
      bar.update(len(batch))
  if not columns:
    raise ValueError(
      "there are no impressions to score: no event of this part has a label."
      " Change the split, or the feedback of config.evals."
    )
  return Scored(
    *(np.concatenate(c) for c in zip(*columns, strict=True)),
    num_requests=requests,
  )


def _columns(batch: Impressions, logits) -> tuple[np.ndarray, ...]:
  keep = batch.known & (batch.candidates > 0)
  lengths = np.array([len(r["item"]) for r in batch.history], np.int32)
  shape = batch.candidates.shape
  return (
    logits[keep],
    batch.labels[keep],
    np.broadcast_to(batch.user[:, None], shape)[keep],
    batch.candidates[keep],
    batch.event[keep],
    np.broadcast_to(lengths[:, None], shape)[keep],
  )


def task_metrics(
  scored: Scored, task: int, where: Bool[np.ndarray, "R"] | None = None
) -> dict[str, float | None]:
  """auc, gauc, ne, log_loss, calibration ... of a task; None = undefined."""
  logits, positive = scored.logits_RT[:, task], scored.positive(task)
  return {
    **AucMetrics.from_batch(
      logits, positive, scored.users_R, where=where
    ).compute(),
    **PointwiseMetrics.from_batch(logits, positive, where=where).compute(),
  }
