# SPDX-License-Identifier: Apache-2.0
"""What a model that retrieves and ranks is watched by: both at once.

config.eval = {"name": "evaluation.RetrievalAndRanking",
               "feedback": {...}, "batch_size": 128, "ks": (1, 5, 10, ...)}

ndcg@10, ...    of validation targets among all items  (validation.py)
auc, ...        of shown items        (evaluation/shown_items.py)
mean            of the two that `mean_of` names; it needs both
"""

import dataclasses
import functools
from typing import Any

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.evaluation.shown_items import ImpressionRanking
from genrec_jax.evaluation.validation import FullRanking
from genrec_jax.experiment.options import EvalOptions

MEAN = "mean"


@dataclasses.dataclass(frozen=True)
class RetrievalAndRanking:
  """See the module docstring.

  Attributes:
    feedback: what is predicted, the same as the layout's.
    batch_size, filter_history, ks: see experiment/options.py.
    mean_of: the metrics whose mean "mean" is.
  """

  feedback: Feedback
  batch_size: int = 128
  filter_history: bool = True
  ks: tuple[int, ...] = (1, 5, 10, 50, 200)
  mean_of: tuple[str, ...] = ("ndcg@10", "auc")

  def __post_init__(self):
    known = self.retrieval.names + self.ranking.names
    unknown = [name for name in self.mean_of if name not in known]
    if unknown or not self.mean_of:
      raise ValueError(
        f"config.eval.mean_of={self.mean_of} must name validation metrics:"
        f" {', '.join(known)}."
      )

  @functools.cached_property
  def retrieval(self) -> FullRanking:
    """Of the whole catalogue."""
    return FullRanking(
      EvalOptions(self.batch_size, self.filter_history, self.ks)
    )

  @functools.cached_property
  def ranking(self) -> ImpressionRanking:
    """Of shown items."""
    return ImpressionRanking(self.feedback, self.batch_size)

  @property
  def names(self) -> tuple[str, ...]:
    """What training may watch."""
    return (MEAN, *self.retrieval.names, *self.ranking.names)

  def check(self, run: Any) -> None:
    """Raises a ValueError where a run cannot be measured in both ways."""
    if not hasattr(run.system, "query"):
      raise ValueError(
        f"config.eval.name is for systems that retrieve too, and"
        f" {run.config['system']['name']} does not: use"
        " evaluation.ImpressionRanking."
      )
    self.retrieval.check(run)
    watched = (run.train.monitor,)
    if run.train.monitor == MEAN:
      watched = self.mean_of
    self.ranking.check(
      run, [name for name in watched if name in self.ranking.names]
    )

  def __call__(self, run: Any, params: Any, program: Any) -> dict[str, float]:
    """The metrics of these parameters; those not defined are left out."""
    found = {
      **self.retrieval(run, params, program),
      **self.ranking(run, params, program),
    }
    if all(name in found for name in self.mean_of):
      values = [found[name] for name in self.mean_of]
      found[MEAN] = sum(values) / len(values)
    return found
