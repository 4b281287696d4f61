# SPDX-License-Identifier: Apache-2.0
"""What a ranker in training is watched by: shown items of the validation part.

    config.eval = {"name": "evaluation.ImpressionRanking",
                   "feedback": {...}, "batch_size": 256}

    auc/TASK, gauc/TASK, negative_ne/TASK, and auc, gauc, negative_ne: the
    means over tasks                                        higher is better

Impressions are data/dataset/impressions.py's, one batch of requests at a time
through the layout's impression_batch and the system's score. A metric that is
not defined (no positive of a task among the impressions) is left out, with the
mean that it belongs to; training may not watch it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
from typing import Any

import jax
from jaxtyping import Bool, Float, Int
import numpy as np
from tqdm import tqdm

from genrec_jax.core import sharding
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import Impressions, iter_impressions
from genrec_jax.metrics.auc import AucMetrics
from genrec_jax.metrics.pointwise import PointwiseMetrics
from genrec_jax.ranking.utility import ValueFunction

METRICS = ("auc", "gauc", "negative_ne")


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


def scorer(run: Any, params: Any, program: Any = None) -> Scorer:
  """The model as a ranker of impressions, at most a batch at a time.

  Args:
    run: whose layout makes the batches.
    params: parameters, as the program places them.
    program: None for copies on this process's devices.
  """
  program = run.program() if program is None else program
  layout, size = run.pipeline.layout, run.eval.batch_size

  def score(impressions: Impressions) -> Float[np.ndarray, "B N T"]:
    batch = layout.impression_batch(impressions.padded(size))
    batch = sharding.put(batch, program.request_sharding)
    with program.in_force():
      logits = jax.device_get(program.score(params, batch))
    return logits[: len(impressions)].astype(np.float32)

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
      " Change the split or config.eval.feedback."
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


@dataclasses.dataclass(frozen=True)
class ImpressionRanking:
  """Scores the labelled impressions of the validation part.

  Attributes:
    feedback: what is predicted, the same as the layout's.
    batch_size: requests at a time.
  """

  feedback: Feedback
  batch_size: int = 256

  @property
  def names(self) -> tuple[str, ...]:
    """What training may watch."""
    tasks = self.feedback.tasks
    return (*METRICS, *(f"{m}/{task}" for m in METRICS for task in tasks))

  def check(self, run: Any, watched: Sequence[str] | None = None) -> None:
    """Raises a ValueError where there is nothing to score or to watch.

    Args:
      run: what is to be trained.
      watched: metrics that must be defined; None = config.train.monitor.
    """
    if not hasattr(run.system, "score"):
      raise ValueError(
        f"config.eval.name is for systems that score impressions, and"
        f" {run.config['system']['name']} does not: leave it out to rank"
        " validation targets."
      )
    if run.pipeline.layout.feedback != self.feedback:
      raise ValueError(
        f"config.eval.feedback is {self.feedback}, and that of"
        f" config.pipeline.layout {run.pipeline.layout.feedback}: make them"
        " the same."
      )
    ValueFunction.of(self.feedback.tasks, run.config["value"])

    def nothing(impressions):
      shape = (*impressions.candidates.shape, self.feedback.num_tasks)
      return np.zeros(shape, np.float32)

    found = self.metrics(score_all(nothing, self._impressions(run)))
    for name in (run.train.monitor,) if watched is None else watched:
      if name not in found:
        raise ValueError(
          f"config.train.monitor={run.train.monitor!r}: {name!r} is not"
          " defined on the validation part: its impressions, or those of every"
          " user, are all positive or all negative. Defined:"
          f" {', '.join(found) or 'none'}."
        )

  def __call__(self, run: Any, params: Any, program: Any) -> dict[str, float]:
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

  def _impressions(self, run: Any) -> Iterator[Impressions]:
    return iter_impressions(
      run.histories,
      "validation",
      self.feedback,
      self.batch_size,
      run.pipeline.layout.num_candidates,
      max_users=run.train.eval_users,
      seed=run.seed,
    )
