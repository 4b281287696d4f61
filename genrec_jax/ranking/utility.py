# SPDX-License-Identifier: Apache-2.0
"""One number of the probabilities of actions, to order items by.

    value = sum over tasks t of weight_t P(t)

Weights say what an action is worth to whom the list is made for; they are no
part of a model. What is bad weighs less than nothing: a skip -100, a click 1.
A run's own are `config.value`, such as {"click": 1.0, "like": 10.0}.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Float
import numpy as np

from genrec_jax.core.suggest import choices_hint

# Sums of a few such weights stay finite in float32.
_LARGEST = 1e30


@dataclasses.dataclass(frozen=True)
class ValueFunction:
  """See the module docstring.

  Attributes:
    tasks: names of the probabilities, in order.
    weights: of the same tasks.
  """

  tasks: tuple[str, ...]
  weights: tuple[float, ...]

  def __post_init__(self):
    if len(self.tasks) != len(self.weights):
      raise ValueError(
        f"{len(self.weights)} weights for the {len(self.tasks)} tasks"
        f" {self.tasks}: give one each."
      )

  @classmethod
  def of(
    cls, tasks: Sequence[str], weights: str | Mapping[str, Any] = ""
  ) -> "ValueFunction":
    """Reads "click=1,like=10"; tasks that it leaves out weigh nothing.

    Args:
      tasks: what the model predicts.
      weights: as above, or by task; empty = 1 each.

    Raises:
      ValueError: a task that is not predicted, or a weight that is no number.
    """
    if not weights:
      return cls(tuple(tasks), (1.0,) * len(tasks))
    said = f"weights={weights!r}"
    if isinstance(weights, str):
      parts = [part.partition("=") for part in weights.split(",")]
      names = [task.strip() for task, _, _ in parts]
      if len(set(names)) < len(names):
        raise ValueError(f"{said} names a task twice; name each once.")
      weights = {task.strip(): text.strip() for task, _, text in parts}
    found = {}
    for task, weight in weights.items():
      if task not in tasks:
        raise ValueError(
          f"{said}: the model predicts no {task!r}." + choices_hint(task, tasks)
        )
      try:
        found[task] = float(weight)
      except (TypeError, ValueError) as e:
        raise ValueError(
          f"{said}: {weight!r} is no number; write {task}=1."
        ) from e
      if not abs(found[task]) <= _LARGEST:
        raise ValueError(
          f"{said}: {weight!r} is no weight; the largest is {_LARGEST:g}."
        )
    return cls(tuple(tasks), tuple(found.get(task, 0.0) for task in tasks))

  def __call__(
    self, probabilities_NT: Float[np.ndarray, "N T"]
  ) -> Float[np.ndarray, "N"]:
    """Values of items."""
    return probabilities_NT @ np.array(self.weights, probabilities_NT.dtype)
