# SPDX-License-Identifier: Apache-2.0
"""Experts of its own for each slot of a row, of which it takes a few.

    y_s = FFN_shared,s(x_s) + sum over the slot's experts e of  g_se FFN_se(x_s)

A router (layers/routers.py) reads logits x_s W_s + b_s; an expert is
(act(x W_in) [* x W_linear]) W_out, without biases. With ReLU gates this is the
mixture of RankMixer (arXiv 2507.15551), with the k best of a softmax and a
shared part that of TokenMixer-Large (arXiv 2602.06563; there the router's
`normalized` is on, its `scale` is one over the share of experts that are taken,
and out_scale is .01). Sums are in ops/slot_mixture.py; no slot is dropped.

TwoRouterSlotExperts is trained densely and served sparsely: a second router,
which nothing makes sparse, sends tokens to the same experts in training alone.
What the source does with it is not said in full; here a model makes two passes
(layers/mixing_stack.py: `dense`), and its losses say what each is worth.
Shapes: S slots of width D, E experts a slot, K of them taken, T rows of slots.
"""

import dataclasses
from typing import Protocol, runtime_checkable

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.option_checks import check_counts, check_positive
from genrec_jax.core.suggest import choices_hint
from genrec_jax.layers.expert_feed_forward import RoutedPositionWise
from genrec_jax.layers.moe import Experts
from genrec_jax.layers.routers import ReluRouter, Routed, TopKRouter
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.ops.precision import SCORES
from genrec_jax.ops.slot_mixture import numbered, slot_mixture

_GATES = {"relu": nn.relu, "softmax": nn.softmax}


@runtime_checkable
class DenselyTrained(RoutedPositionWise, Protocol):
  """A feed-forward part that training may also send to all of its experts."""

  def dense(self, x: Float[Array, "*b D"]) -> Float[Array, "*b D"]:
    """Position-wise, width kept: by the router of training alone."""


class SlotLogits(nn.Module):
  """What a router reads of each slot, by a matrix of the slot's own.

  Attributes:
    num_experts: E.
    bias: 0 at the start, where about half of all ReLU gates are open; without
      one, nothing but the matrix can close them.
  """

  num_experts: int
  bias: bool = True

  @nn.compact
  def __call__(self, x_TSD: Float[Array, "T S D"]) -> Float[Array, "S T E"]:
    """Logits in float32."""
    _, slots, width = x_TSD.shape
    shape = (slots, width, self.num_experts)
    init = nn.initializers.normal(width**-0.5)
    matrix = self.param("logits", init, shape)
    logits = jnp.einsum(
      "tsd,sde->ste", x_TSD.astype(jnp.float32), matrix, precision=SCORES
    )
    if not self.bias:
      return logits
    start = nn.initializers.zeros
    bias_SE = self.param("logits_bias", start, (slots, self.num_experts))
    return logits + bias_SE[:, None, :]


class _SlotRouter(nn.Module):
  """The routers of all slots, and what moves between steps."""

  router: TopKRouter | ReluRouter
  num_experts: int
  bias: bool

  @nn.compact
  def __call__(self, x_TSD, where_T, train: bool) -> Routed:
    logits = SlotLogits(self.num_experts, self.bias, name="scores")
    start = self.router.start_by_slot(x_TSD.shape[1], self.num_experts)
    state = {
      name: self.param(name, lambda key, value=value: value)
      for name, value in start.items()
    }
    state = jax.lax.stop_gradient(state)
    return self.router.by_slot(logits(x_TSD), where_T, state, train=train)


class SlotExperts(nn.Module):
  """See the module docstring.

  Attributes:
    router: which of its experts a slot takes.
    num_experts: E, of each slot.
    hidden_width: F, of one expert.
    shared_width: inner width of a part that a slot always takes; 0 = none.
    gated: inner vectors are act(W_in x) * W_linear x (SwiGLU with "silu").
    activation: name of a flax.linen activation.
    out_scale: of W_out at the start, over what keeps the variance.
    router_bias: b_s.
    dtype: of the products; parameters and routers are float32.
    implementation: see ops/slot_mixture.py; None takes the cheaper one.
  """

  router: TopKRouter | ReluRouter
  num_experts: int
  hidden_width: int
  shared_width: int = 0
  gated: bool = True
  activation: str = "silu"
  out_scale: float = 1.0
  router_bias: bool = True
  dtype: str = "float32"
  implementation: str | None = None

  logical_axes = {
    "routing/scores/logits": ("slot", "width", None),
    "dense_routing/logits": ("slot", "width", None),
    "experts/in": ("expert", "width", None),
    "experts/linear": ("expert", "width", None),
    "experts/out": ("expert", None, "width"),
    "shared/slot_in": ("slot", "width", "hidden"),
    "shared/slot_linear": ("slot", "width", "hidden"),
    "shared/slot_out": ("slot", "hidden", "width"),
  }

  def __post_init__(self):
    super().__post_init__()
    where = "config.system.experts"
    check_counts(self, where, "num_experts", "hidden_width")
    check_counts(self, where, "shared_width", least=0)
    check_positive(self, where, "out_scale")
    self.router.check(self.num_experts)

  def setup(self):
    self.routing = _SlotRouter(self.router, self.num_experts, self.router_bias)
    self.experts = Experts(
      self.num_experts, self.hidden_width, self.gated, self.out_scale
    )
    if self.shared_width:
      self.shared = SlotFeedForward(
        self.shared_width,
        gated=self.gated,
        bias=False,
        activation=self.activation,
        out_scale=self.out_scale,
        dtype=self.dtype,
      )

  def __call__(
    self, x: Float[Array, "*b S D"], deterministic: bool
  ) -> Float[Array, "*b S D"]:
    """Every slot by its own experts; all are real."""
    return self.routed(x, jnp.ones(x.shape[:-1], bool), deterministic)[0]

  def routed(
    self,
    x: Float[Array, "*b S D"],
    where: Bool[Array, "*b S"],
    deterministic: bool,
  ) -> tuple[Float[Array, "*b S D"], Routed]:
    """Every slot's experts, and how slots were routed, as T S tokens.

    Args:
      x: slots.
      where: which are real, all slots of a row alike; the others take the
        shared part alone, and count in no load and no loss.
      deterministic: without it, what routers set between steps moves.
    """
    x_TSD = x.reshape(-1, *x.shape[-2:])
    where_T = where.reshape(len(x_TSD), -1)[:, 0]
    routed = self.routing(x_TSD, where_T, not deterministic)
    experts_TSK, gates_TSK = (
      jnp.swapaxes(part, 0, 1) for part in routed.choice
    )
    active = self.router.active(self.num_experts)
    y = self._mixture(
      x_TSD, experts_TSK, gates_TSK, active, self.implementation
    )
    assign = {("routing", *p): pair for p, pair in routed.assign.items()}
    return self._with_shared(x, y), dataclasses.replace(
      _as_tokens(routed, numbered(experts_TSK, self.num_experts), gates_TSK),
      assign=assign,
    )

  def _mixture(self, x_TSD, experts_TSK, gates_TSK, active, implementation):
    _, slots, width = x_TSD.shape
    return slot_mixture(
      x_TSD,
      self.experts(width, slots),
      experts_TSK,
      gates_TSK,
      activation=getattr(nn, self.activation),
      dtype=self.dtype,
      active=active,
      implementation=implementation,
    )

  def _with_shared(self, x, y_TSD):
    y = y_TSD.reshape(x.shape)
    return y + self.shared(x) if self.shared_width else y


class TwoRouterSlotExperts(SlotExperts):
  """Slot experts with a router for training beside the one that serves.

  Attributes:
    dense_gate: of the router of training: "relu" as the other's, or "softmax",
      by which every expert has a gradient of every token.
  """

  dense_gate: str = "relu"

  def __post_init__(self):
    super().__post_init__()
    if self.dense_gate not in _GATES:
      raise ValueError(
        f"config.system.experts.dense_gate={self.dense_gate!r} is unknown."
        + choices_hint(self.dense_gate, _GATES)
      )

  def setup(self):
    super().setup()
    self.dense_routing = SlotLogits(self.num_experts, self.router_bias)

  def dense(self, x: Float[Array, "*b S D"]) -> Float[Array, "*b S D"]:
    """Every slot by its experts and the router of training."""
    x_TSD = x.reshape(-1, *x.shape[-2:])
    logits = self.dense_routing(x_TSD)
    gates_TSE = jnp.swapaxes(_GATES[self.dense_gate](logits), 0, 1)
    every = jnp.arange(self.num_experts)[None, None, :]
    experts_TSE = jnp.broadcast_to(every, gates_TSE.shape)
    y = self._mixture(x_TSD, experts_TSE, gates_TSE, None, "dense")
    return self._with_shared(x, y)


def _as_tokens(routed: Routed, experts_TSK, gates_TSK) -> Routed:
  """What is said of S slots, as of T S tokens and S E experts."""

  def flat(x_ST):
    return jnp.swapaxes(x_ST, 0, 1).reshape(-1)

  count = experts_TSK.shape[2]
  choice = type(routed.choice)(
    experts_TSK.reshape(-1, count), gates_TSK.reshape(-1, count)
  )
  return dataclasses.replace(
    routed,
    choice=choice,
    where=flat(routed.where),
    load=routed.load.reshape(-1),
    losses={name: flat(x) for name, x in routed.losses.items()},
    entropy=flat(routed.entropy),
    active=flat(routed.active),
  )
