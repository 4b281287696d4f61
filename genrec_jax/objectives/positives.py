# SPDX-License-Identifier: Apache-2.0
"""A loss over items, for the events on which the user did something.

    label = item where any of some tasks was done, else none

Layouts of shown items label positions with what was done (bit masks); losses of
objectives/softmax.py want the item that was taken. With a sampler of the
batch's own labels and its log Q it is how two towers are trained (Yi et al.,
RecSys 2019).
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs


@dataclasses.dataclass(frozen=True)
class Positives:
  """See the module docstring.

  Attributes:
    tasks: of the layout's labels, in order.
    taken: those of them that make an event a positive.
    loss: of objectives/softmax.py.
  """

  tasks: tuple[str, ...]
  taken: tuple[str, ...]
  loss: Callable[..., Any]

  def __post_init__(self):
    wrong = [task for task in self.taken if task not in self.tasks]
    if wrong or not self.taken:
      raise ValueError(
        f"objective.taken={self.taken}: name at least one task, of {self.tasks}"
        " alone."
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
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The loss at labelled positions with a task that counts; else 0."""
    mask = sum(1 << self.tasks.index(task) for task in self.taken)
    done_BL = (batch["label_BL"] & mask > 0) & (batch["labelled_BL"] > 0)
    labels_BL = jnp.where(done_BL, batch["item_BL"], 0)
    return self.loss(
      outputs,
      {**batch, "label_BL": labels_BL},
      rng=rng,
      items=items,
      where=where,
      weights=weights,
    )
