# SPDX-License-Identifier: Apache-2.0
"""What routing costs, and how even it is.

    L = sum over mixtures of  mean over their tokens of
        balance_weight * balance + z_weight * z + penalty

A model puts what its mixtures say of routing (layers/routers.py: Routed) into
outputs.aux["routed"]; config.objective is a WeightedSum of this and of what the
model is trained for. Parts are the losses and, as means over mixtures,

    load_peak   largest load over the mean one: 1 is even
    dead        experts without a token in the batch
    entropy     of a token's scores, in nats
    active      share of all experts that a token takes
    price       of ReLU gates, where there are any
"""

import dataclasses
import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_scales
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.ops.routing import dead_experts, load_peak


@dataclasses.dataclass(frozen=True)
class RoutingLoss:
  """See the module docstring.

  Attributes:
    balance_weight: of the balance loss; published .01.
    z_weight: of the router's z-loss; published .001.
  """

  balance_weight: float = 0.0
  z_weight: float = 0.0

  def __post_init__(self):
    check_scales(self, "config.objective", "balance_weight", "z_weight")

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
    """The loss; all real tokens count alike, whatever is asked of them.

    Raises:
      ValueError: a model without mixtures, or a weight for a loss that none of
        its routers has.
    """
    del batch, rng, items, where, weights
    routed = (outputs.aux or {}).get("routed")
    if not routed:
      raise ValueError(
        "RoutingLoss is of mixtures of experts, and this model has none."
      )
    factors = {
      "balance": self.balance_weight,
      "z": self.z_weight,
      "penalty": 1.0,
    }
    names = set().union(*(one.losses for one in routed))
    for name in ("balance", "z"):
      if factors[name] and name not in names:
        raise ValueError(
          f"config.objective.{name}_weight={factors[name]}, and no router of"
          f" this model has such a loss; there is {', '.join(sorted(names))}."
        )
    total, found = jnp.float32(0), []
    for one in routed:
      losses = {n: Mean.of(x, where=one.where) for n, x in one.losses.items()}
      total += sum(factors[n] * mean.compute() for n, mean in losses.items())
      found.append(losses | _facts(one))
    parts = {}
    for name in dict.fromkeys(n for one in found for n in one):
      means = [one[name] for one in found if name in one]
      parts[name] = functools.reduce(Mean.merge, means)
    return total, parts


def _facts(routed):
  """What is told of a mixture and trains nothing."""
  some = jnp.any(routed.where)
  facts = {
    "load_peak": Mean.of(load_peak(routed.load), where=some),
    "dead": Mean.of(dead_experts(routed.load), where=some),
    "entropy": Mean.of(routed.entropy, where=routed.where),
    "active": Mean.of(routed.active, where=routed.where),
  }
  if routed.coefficient is not None:
    facts["price"] = Mean.of(routed.coefficient)
  return facts
