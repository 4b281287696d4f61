# SPDX-License-Identifier: Apache-2.0
"""What a model says of its memory, logged with the losses; it costs nothing.

    config.objective = {"name": "objectives.WeightedSum",
                        "objectives": {..., "memory": {
                          "name": "objectives.MemoryFigures"}},
                        "weights": {..., "memory": 0.0}}

The model gives outputs.aux["memory"], means by name (layers/banked_items.py:
coverage, encoded, age, staleness).
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs


@dataclasses.dataclass(frozen=True)
class MemoryFigures:
  """See the module docstring."""

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
    """0, and the figures.

    Raises:
      ValueError: a model without a memory.
    """
    del batch, rng, items, where, weights
    found = (outputs.aux or {}).get("memory")
    if not found:
      raise ValueError(
        "objectives.MemoryFigures is of a memory, and this model has none: see"
        " config.system.memory."
      )
    return jnp.float32(0), dict(found)
