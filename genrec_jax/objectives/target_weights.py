# SPDX-License-Identifier: Apache-2.0
"""A loss over targets of which some count, by what came of them.

    weight = 1    target that was taken (clicked, watched for long)
    weight = q    the same, by its percentile of play times (`by_percentile`)
    weight = 0    all others

Supervised training on logged items; what is told of targets is the layout's
(data/layouts/watched.py). The mean is over the sum of weights.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs


@dataclasses.dataclass(frozen=True)
class TakenTargets:
  """See the module docstring.

  Attributes:
    loss: of objectives/tokens.py.
    by_percentile: whether a target that was watched for longer counts more;
      one whose play time is not known counts nothing then.
  """

  loss: Callable[..., Any]
  by_percentile: bool = False

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B S"] | None = None,
    weights: Float[Array, "B S"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The loss of the targets that count, 0 where there is none.

    Raises:
      ValueError: a layout that tells nothing of its targets.
    """
    if "target_taken_BS" not in batch:
      raise ValueError(
        "objectives.TakenTargets learns from targets that were taken: set"
        " config.pipeline.layout.watched."
      )
    taken_BS = batch["target_taken_BS"] > 0
    if where is not None:
      taken_BS = taken_BS & where
    if self.by_percentile:
      percentile_BS = jnp.maximum(batch["target_percentile_BS"], 0.0)
      weights = percentile_BS if weights is None else weights * percentile_BS
    return self.loss(
      outputs, batch, rng=rng, items=items, where=taken_BS, weights=weights
    )
