# SPDX-License-Identifier: Apache-2.0
"""What codes of variable length are trained for (arXiv 2602.16375).

    L = sum_l P~(l) |x - x^_l|^2
        + beta (KL + length_weight E[length] - H(length))
    P~ = (1 - even) P + even / S        no length is ever left untrained
    KL = sum_t P(length >= t) max(free_nats, KL_t)

x^_l is reconstructed from the first l codes, and KL_t the divergence of step
t's codes from equal ones; beta rises from 0 in `warm_steps` steps. That a
step's divergence counts as often as the step is taken is our reading.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
import numpy as np

from genrec_jax.core.option_checks import check_counts, check_scales
from genrec_jax.core.types import Batch, Items, Mean, Outputs


@dataclasses.dataclass(frozen=True)
class VariableLengthBound:
  """See the module docstring.

  Attributes:
    length_weight: lambda; published 0 to 12. More makes codes shorter.
    beta: weight of the second line in the end.
    warm_steps: until then it rises.
    free_nats: divergence of a step that costs nothing more.
    even: share of lengths that are weighted alike.
  """

  length_weight: float = 2.0
  beta: float = 0.002
  warm_steps: int = 100
  free_nats: float = 2.0
  even: float = 0.1

  def __post_init__(self):
    where = "config.objective"
    check_scales(self, where, "length_weight", "beta", "free_nats")
    check_counts(self, where, "warm_steps", least=0)
    if not 0 <= self.even <= 1:
      raise ValueError(f"{where}.even={self.even} must lie between 0 and 1.")

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
    """Mean over real items.

    Raises:
      ValueError: a system whose codes are all of one length.
    """
    del rng, items
    if "length_BLS" not in (outputs.aux or {}):
      raise ValueError(
        "objectives.VariableLengthBound is the loss of models.VariableLength:"
        " make that config.system."
      )
    keep_BL = batch["segment_ids_BL"] > 0
    keep_BL = keep_BL if where is None else keep_BL & where
    p_BLS, aux = outputs.aux["length_BLS"], outputs.aux
    steps = p_BLS.shape[-1]
    mixed_BLS = (1 - self.even) * p_BLS + self.even / steps
    # P(length >= t): 1, 1 - P(1), ..
    taken_BLS = 1 - jnp.cumsum(p_BLS, axis=-1) + p_BLS
    nats_BLS = jnp.maximum(aux["information_BLS"], self.free_nats)
    entropy_BL = -jnp.sum(p_BLS * jnp.log(jnp.maximum(p_BLS, 1e-20)), axis=-1)
    number_S = np.arange(1, steps + 1, dtype=np.float32)

    def mean(values_BL):
      return Mean.of(values_BL, where=keep_BL, weights=weights)

    parts = {
      "reconstruction": mean(jnp.sum(mixed_BLS * aux["error_BLS"], axis=-1)),
      "information": mean(jnp.sum(taken_BLS * nats_BLS, axis=-1)),
      "length": mean(p_BLS @ number_S),
      "length_entropy": mean(entropy_BL),
    }
    beta = self.beta * jnp.minimum(1.0, aux["age"] / max(self.warm_steps, 1))
    value = {name: part.compute() for name, part in parts.items()}
    bound = value["information"] - value["length_entropy"]
    bound = bound + self.length_weight * value["length"]
    return value["reconstruction"] + beta * bound, parts
