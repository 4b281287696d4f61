# SPDX-License-Identifier: Apache-2.0
"""What a trained workdir says of given items: probabilities, and their value.

ranker = TrainedRanker.open("runs/din")
ranker.value_of("click=1")(ranker.scorer.score(request))
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from genrec_jax.core import seams
from genrec_jax.core.suggest import short
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.ranking.utility import ValueFunction


@dataclasses.dataclass(frozen=True)
class TrainedRanker:
  """See the module docstring.

  Attributes:
    scorer: the model.
    histories: the data set.
    value: the run's own, config.value.
  """

  scorer: CandidateScorer
  histories: Histories
  value: ValueFunction

  @classmethod
  def open(
    cls,
    workdir: str | os.PathLike,
    *,
    checkpoint: str = "best",
    micro_batch: int = 256,
  ) -> "TrainedRanker":
    """Reads a workdir.

    Args:
      workdir: a folder that genrec train has filled.
      checkpoint: "best" on validation or the "latest".
      micro_batch: candidates that are scored at a time.

    Raises:
      ValueError: no run, no checkpoint, or a model that is no ranker.
    """
    run = Run.open(workdir)
    _check_ranks(run, workdir)
    return cls.of(run, load_params(run, checkpoint).params, micro_batch)

  @classmethod
  def of(cls, run: Run, params: Any, micro_batch: int = 256) -> "TrainedRanker":
    """Of a run with its parameters on this process's devices.

    Raises:
      ValueError: a model that is no ranker.
    """
    _check_ranks(run, run.workdir)
    layout = run.pipeline.layout
    scorer = CandidateScorer.of(run.system, params, layout, micro_batch)
    value = ValueFunction.of(layout.feedback.tasks, run.config["value"])
    return cls(scorer, run.histories, value)

  def value_of(self, weights: Any) -> ValueFunction:
    """By these weights; the run's own where there are none (see value_of)."""
    return value_of(self.value, weights)


def value_of(own: ValueFunction, weights: Any) -> ValueFunction:
  """A value function by other weights; `own` where there are none.

  Raises:
    ValueError: they are neither text nor a mapping of tasks.
  """
  if weights is not None and not isinstance(weights, str | Mapping):
    raise ValueError(
      f"weights={short(weights)} must be text such as 'click=1,like=10', or"
      " map tasks to numbers"
    )
  return ValueFunction.of(own.tasks, weights) if weights else own


def ranks(run: Run) -> bool:
  """Whether a run says what a user would do with a given item."""
  scores = seams.offers(run.system, seams.ScoreModel)
  return scores and seams.offers(run.pipeline.layout, seams.ImpressionLayout)


def _check_ranks(run: Run, workdir: str | os.PathLike) -> None:
  if not ranks(run):
    raise ValueError(
      f"{workdir} is no ranker: {run.name} is trained to find items"
      " (genrec recommend --workdir), and says of none what a user would"
      " do with it."
    )
