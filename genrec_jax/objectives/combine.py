# SPDX-License-Identifier: Apache-2.0
"""Several losses of one model: their weighted sum.

    loss = sum over objectives o of weight_o loss_o

Each reads its own labels of the batch, and draws from a random stream of its
own. Its means come back under its name: "next_item/softmax".
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core import seams
from genrec_jax.core.seams import Objective
from genrec_jax.core.types import Batch, Items, Mean, Outputs

Parts = dict[str, Mean]


@dataclasses.dataclass(frozen=True)
class WeightedSum:
  """See the module docstring.

  Attributes:
    objectives: by name; see objectives/softmax.py for what one is.
    weights: of the same names.
  """

  objectives: Mapping[str, Any]
  weights: Mapping[str, float]

  def __post_init__(self):
    if not self.objectives:
      raise ValueError("objectives is empty: name at least one loss.")
    for name, objective in self.objectives.items():
      seams.require(objective, Objective, f"objectives[{name!r}]")
    if self.objectives.keys() != self.weights.keys():
      raise ValueError(
        f"objectives are {', '.join(self.objectives)}, and weights are of"
        f" {', '.join(self.weights) or 'none'}: give one each."
      )

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The sum, and the means of every objective; arguments go to each."""
    total, parts = jnp.float32(0), {}
    for number, (name, objective) in enumerate(self.objectives.items()):
      loss, found = objective(
        outputs,
        batch,
        rng=jax.random.fold_in(rng, number),
        items=items,
        where=where,
        weights=weights,
      )
      total = total + self.weights[name] * loss
      parts |= {f"{name}/{part}": mean for part, mean in found.items()}
    return total, parts
