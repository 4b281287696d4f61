# SPDX-License-Identifier: Apache-2.0
"""Who sends tokens to experts, as a part that a mixture is given.

    TopKRouter   gates softmax(W x) of the k best, by p + b where load is evened
    ReluRouter   gates relu(W x), as many as its price leaves open

Both answer router(logits_TE, where_T, state, train=...) -> Routed. They hold no
parameters (layers/moe.py does), and the maths is in ops/routing.py; all of it
is float32. `state` is what moves between steps, b or the price: parameters
without a gradient, whose next values are in `assign`, for the train step to put
in place after the optimizer. So the layer stays a pure function, also where a
step computes it twice to save memory.

Where slots have experts of their own (layers/slot_experts.py), `by_slot` routes
each slot among its own, and arrays of what it returns begin with S. ReLU gates
have one price for all slots: those that say more may take more experts.
Shapes: T tokens, S slots, E experts, K experts of a token.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.option_checks import (
  check_counts,
  check_positive,
  check_scales,
)
from genrec_jax.ops.routing import (
  Choice,
  balance_loss,
  check_count,
  entropy,
  expert_load,
  moved_bias,
  moved_coefficient,
  relu_choice,
  relu_penalty,
  top_k_choice,
  z_loss,
)

_WHERE = "config.system.router"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Routed:
  """Where tokens go, and what is said of it (objectives/routing.py).

  Attributes:
    choice: experts and gates of each token, (T, K).
    where: (T,), which tokens are real; the others take no expert.
    load: (E,), tokens of each expert.
    losses: (T,) each, by name: "balance" and "z", or "penalty", at its price.
    entropy: (T,), of the softmax or of what the gates let through, in nats.
    active: (T,), the share of all experts that a token takes.
    assign: path below the router, or below the layer once that returns it ->
      (where, value), see core/types.py.
    coefficient: the price of ReLU gates; None for others.
  """

  choice: Choice
  where: Any
  load: Any
  losses: Mapping[str, Any]
  entropy: Any
  active: Any
  assign: Mapping[tuple[str, ...], Any]
  coefficient: Any = None


def _active(choice, num_experts):
  taken_T = jnp.sum(choice.experts < num_experts, axis=1)
  return taken_T.astype(jnp.float32) / num_experts


def _everywhere(value):
  return jnp.ones_like(value, dtype=bool), value


@dataclasses.dataclass(frozen=True)
class TopKRouter:
  """See the module docstring.

  Attributes:
    experts_per_token: k.
    normalized: a token's gates sum to 1; else they are what softmax gives.
    scale: of the gates.
    balance_rate: how far an expert's b moves in a step towards an even load
      (published .001); 0: there is no b.
  """

  experts_per_token: int
  normalized: bool = False
  scale: float = 1.0
  balance_rate: float = 0.0

  def __post_init__(self):
    check_counts(self, _WHERE, "experts_per_token")
    check_scales(self, _WHERE, "balance_rate")
    check_positive(self, _WHERE, "scale")

  def check(self, num_experts: int) -> None:
    """Raises a ValueError where a token would take more than there are."""
    check_count(self.experts_per_token, num_experts)

  def active(self, num_experts: int) -> float:
    """Experts of a token."""
    return float(self.experts_per_token)

  def start(self, num_experts: int) -> dict[str, Array]:
    """What moves between steps, before the first."""
    return {"balance": jnp.zeros(num_experts)} if self.balance_rate else {}

  def start_by_slot(self, slots: int, num_experts: int) -> dict[str, Array]:
    """The same for `by_slot`."""
    shape = (slots, num_experts)
    return {"balance": jnp.zeros(shape)} if self.balance_rate else {}

  def by_slot(
    self,
    logits_STE: Float[Array, "S T E"],
    where_T: Bool[Array, "T"],
    state: Mapping[str, Array],
    *,
    train: bool,
  ) -> Routed:
    """Routes every slot among its own experts."""

    def one(logits_TE, state):
      return self(logits_TE, where_T, state, train=train)

    return jax.vmap(one)(logits_STE, state)

  def __call__(
    self,
    logits_TE: Float[Array, "T E"],
    where_T: Bool[Array, "T"],
    state: Mapping[str, Array],
    *,
    train: bool,
  ) -> Routed:
    """Routes tokens; in training b moves."""
    scores_TE = jax.nn.softmax(logits_TE)
    num_experts = scores_TE.shape[1]
    bias_E = state["balance"] if self.balance_rate else None
    choice = top_k_choice(
      scores_TE,
      where_T,
      self.experts_per_token,
      bias_E=bias_E,
      normalized=self.normalized,
    )
    load_E = expert_load(choice.experts, num_experts)
    assign = {}
    if train and bias_E is not None:
      assign[("balance",)] = _everywhere(
        moved_bias(bias_E, load_E, self.balance_rate)
      )
    return Routed(
      choice=choice._replace(gates=self.scale * choice.gates),
      where=where_T,
      load=load_E,
      losses={
        "balance": balance_loss(scores_TE, load_E),
        "z": z_loss(logits_TE),
      },
      entropy=entropy(scores_TE),
      active=_active(choice, num_experts),
      assign=assign,
    )


@dataclasses.dataclass(frozen=True)
class ReluRouter:
  """See the module docstring.

  Attributes:
    sparsity: share of gates that should be 0 in the end; a step moves the price
      of gates towards that.
    first_coefficient: the price at the start.
    factor: of the price in a step.
    by_load: gates of an expert cost by its load, which evens it; else alike.
    least: above 0, a token's best expert stays open (ops/routing.py:
      relu_choice).
  """

  sparsity: float = 0.75
  first_coefficient: float = 1e-8
  factor: float = 1.2
  by_load: bool = True
  least: float = 0.0

  def __post_init__(self):
    check_positive(self, _WHERE, "first_coefficient")
    check_scales(self, _WHERE, "least")
    for name, low, high in (("sparsity", 0, 1), ("factor", 1, 10)):
      value = vars(self)[name]
      if not low < value < high:
        raise ValueError(
          f"{_WHERE}.{name}={value} must lie between {low} and {high}."
        )

  def check(self, num_experts: int) -> None:
    """Any number of experts will do."""

  def active(self, num_experts: int) -> float:
    """Experts of a token, on average in the end."""
    return (1 - self.sparsity) * num_experts

  def start(self, num_experts: int) -> dict[str, Array]:
    """What moves between steps, before the first."""
    return {"coefficient": jnp.float32(self.first_coefficient)}

  def start_by_slot(self, slots: int, num_experts: int) -> dict[str, Array]:
    """The same for `by_slot`: one price."""
    return self.start(num_experts)

  def by_slot(
    self,
    logits_STE: Float[Array, "S T E"],
    where_T: Bool[Array, "T"],
    state: Mapping[str, Array],
    *,
    train: bool,
  ) -> Routed:
    """Routes every slot among its own experts; the price moves by all."""

    def one(logits_TE):
      return self(logits_TE, where_T, state, train=False)

    routed = jax.vmap(one)(logits_STE)
    assign = (
      self._moved(state, routed.load.reshape(-1), where_T) if train else {}
    )
    return dataclasses.replace(
      routed, coefficient=state["coefficient"], assign=assign
    )

  def _moved(self, state, load_E, where_T):
    """The price after a step of this load."""
    num_tokens = jnp.sum(where_T, dtype=jnp.float32)
    moved = moved_coefficient(
      state["coefficient"], load_E, num_tokens, self.sparsity, self.factor
    )
    return {("coefficient",): _everywhere(moved)}

  def __call__(
    self,
    logits_TE: Float[Array, "T E"],
    where_T: Bool[Array, "T"],
    state: Mapping[str, Array],
    *,
    train: bool,
  ) -> Routed:
    """Routes tokens; in training the price moves."""
    choice = relu_choice(logits_TE, where_T, self.least)
    load_E = expert_load(choice.experts, logits_TE.shape[1])
    num_tokens = jnp.sum(where_T, dtype=jnp.float32)
    price = state["coefficient"]
    assign = self._moved(state, load_E, where_T) if train else {}
    penalty_T = relu_penalty(
      choice.gates,
      load_E if self.by_load else None,
      num_tokens,
      self.sparsity,
    )
    return Routed(
      choice=choice,
      where=where_T,
      load=load_E,
      losses={"penalty": price * penalty_T},
      entropy=entropy(choice.gates),
      active=_active(choice, logits_TE.shape[1]),
      assign=assign,
      coefficient=price,
    )
