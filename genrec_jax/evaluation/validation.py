# SPDX-License-Identifier: Apache-2.0
"""What training watches: by default, the ranking of validation targets.

    validator(run, params, program) -> {metric: value}
    validator.names                    metrics that config.train.monitor may be

`config.eval` without a name gives FullRanking its options; a system that ranks
nothing names a validator of its own there.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol, runtime_checkable

from genrec_jax.core.build import build
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.experiment.options import EvalOptions
from genrec_jax.metrics.ranking import NAMES


@runtime_checkable
class Validator(Protocol):
  """Measures parameters on the way."""

  @property
  def names(self) -> tuple[str, ...]:
    """Metrics that it returns and training may watch; higher is better."""

  def check(self, run: Any) -> None:
    """Raises a ValueError where a run has nothing to validate on."""

  def __call__(self, run: Any, params: Any, program: Any) -> dict[str, float]:
    """The metrics of these parameters."""


@dataclasses.dataclass(frozen=True)
class FullRanking:
  """Ranks the whole catalogue for every validation request."""

  options: EvalOptions

  @property
  def names(self) -> tuple[str, ...]:
    """Such as ndcg@10, for every cut-off of the options."""
    return tuple(f"{name}@{k}" for k in self.options.ks for name in NAMES)

  def check(self, run: Any) -> None:
    """Raises a ValueError where no user has a validation target."""
    if run.config["value"] and not hasattr(run.system, "score"):
      raise ValueError(
        "config.value weighs what users do with shown items, and"
        f" {run.config['system']['name']} scores none: leave it out."
      )
    if next(iter_requests(run.histories, "validation", 1), None) is None:
      raise ValueError(
        "no user has a validation target (leave-one-out needs 3 events):"
        " change the split or the filter, or train without validation"
        " (--config.train.eval_every_steps=0)."
      )

  def __call__(self, run: Any, params: Any, program: Any) -> dict[str, float]:
    """Metrics by name; see evaluation/full_ranking.py."""
    found = evaluate(
      run.search(params, program=program),
      iter_requests(
        run.histories,
        "validation",
        self.options.batch_size,
        max_users=run.train.eval_users,
        seed=run.seed,
      ),
      num_items=run.histories.manifest.num_items,
      ks=self.options.ks,
      filter_history=self.options.filter_history,
    )
    return found.metrics


def validator_of(node: Mapping[str, Any]) -> tuple[Validator, EvalOptions]:
  """The validator that config.eval describes, and the ranking's options."""
  options = EvalOptions.of(node)
  if "name" in node:
    return build(node, where="config.eval"), options
  return FullRanking(options), options
