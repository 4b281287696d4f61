# SPDX-License-Identifier: Apache-2.0
"""A feed-forward part of many experts, of which a token takes a few.

    y = FFN_shared(x) + sum over the token's experts e of  g_e FFN_e(x)
    FFN(x) = (act(W_in x) [* W_linear x]) W_out              without biases

A router (layers/routers.py) says which; the sums are in ops/moe.py, where no
token is dropped. Shared experts take every token; S of them of inner width F
are one of width S F. A mesh splits experts by the logical axis `expert`.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.option_checks import check_counts
from genrec_jax.layers.routers import ReluRouter, Routed, TopKRouter
from genrec_jax.ops.moe import expert_mixture
from genrec_jax.ops.precision import SCORES

# Dimensions of the parameters, by which a mesh splits them.
LOGICAL_AXES = {
  "routing/logits/kernel": ("width", None),
  "routing/balance": (None,),
  "experts/in": ("expert", "width", None),
  "experts/linear": ("expert", "width", None),
  "experts/out": ("expert", None, "width"),
  "shared_in/kernel": ("width", "hidden"),
  "shared_linear/kernel": ("width", "hidden"),
  "shared_out/kernel": ("hidden", "width"),
}


class _Router(nn.Module):
  """The router's matrix, and what moves between steps."""

  router: TopKRouter | ReluRouter
  num_experts: int

  @nn.compact
  def __call__(self, x_TD, where_T, train: bool) -> Routed:
    logits_TE = nn.Dense(
      self.num_experts,
      use_bias=False,
      kernel_init=nn.initializers.normal(x_TD.shape[-1] ** -0.5),
      precision=SCORES,
      name="logits",
    )(x_TD.astype(jnp.float32))
    start = self.router.start(self.num_experts)
    state = {
      name: self.param(name, lambda key, value=value: value)
      for name, value in start.items()
    }
    state = jax.lax.stop_gradient(state)
    return self.router(logits_TE, where_T, state, train=train)


class Experts(nn.Module):
  """The matrices of all experts.

  Attributes:
    num_experts: E.
    hidden_width: F.
    gated: with "linear" beside "in" and "out".
    out_scale: of "out" at the start, over what keeps the variance.
  """

  num_experts: int
  hidden_width: int
  gated: bool
  out_scale: float = 1.0

  @nn.compact
  def __call__(self, width: int, slots: int = 1) -> dict[str, Array]:
    """Those of tokens of this width; of slots, E each, one after the other."""

    def matrices(name, fan_in, fan_out, scale=1.0):
      shape = (slots * self.num_experts, fan_in, fan_out)
      std = scale * fan_in**-0.5
      return self.param(name, nn.initializers.normal(std), shape)

    names = ("in", "linear") if self.gated else ("in",)
    found = {n: matrices(n, width, self.hidden_width) for n in names}
    out = matrices("out", self.hidden_width, width, self.out_scale)
    return {**found, "out": out}


class MixtureOfExperts(nn.Module):
  """See the module docstring.

  Attributes:
    router: which experts a token takes.
    num_experts: E.
    hidden_width: F, of one expert.
    shared_experts: that every token takes.
    gated: inner vectors are act(W_in x) * W_linear x (SwiGLU with "silu").
    activation: name of a flax.linen activation.
    dtype: of the products; parameters and the router are float32.
    implementation: see ops/moe.py; None takes the cheaper one.
  """

  router: TopKRouter | ReluRouter
  num_experts: int
  hidden_width: int
  shared_experts: int = 0
  gated: bool = True
  activation: str = "silu"
  dtype: str = "float32"
  implementation: str | None = None

  logical_axes = LOGICAL_AXES

  def __post_init__(self):
    super().__post_init__()
    where = "config.system.moe"
    check_counts(self, where, "num_experts", "hidden_width")
    check_counts(self, where, "shared_experts", least=0)
    self.router.check(self.num_experts)

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "*b D"],
    where: Bool[Array, "*b"],
    *,
    train: bool,
  ) -> tuple[Float[Array, "*b D"], Routed]:
    """Every token's experts, and how tokens were routed.

    Args:
      x: tokens.
      where: which of them are real; the others take shared experts alone, and
        count in no load and no loss.
      train: what the router sets between steps moves.
    """
    x_TD = x.reshape(-1, x.shape[-1])
    router = _Router(self.router, self.num_experts, name="routing")
    routed = router(x_TD, where.reshape(-1), train)
    experts = Experts(
      self.num_experts, self.hidden_width, self.gated, name="experts"
    )
    y_TD = expert_mixture(
      x_TD,
      experts(x.shape[-1]),
      *routed.choice,
      activation=getattr(nn, self.activation),
      dtype=self.dtype,
      active=self.router.active(self.num_experts),
      implementation=self.implementation,
    )
    y = y_TD.reshape(x.shape)
    if self.shared_experts:
      y = y + self._shared(x)
    assign = {("routing", *p): pair for p, pair in routed.assign.items()}
    return y, dataclasses.replace(routed, assign=assign)

  def _shared(self, x):
    """What every token takes."""
    inner = self.shared_experts * self.hidden_width

    def dense(name, features, x):
      return nn.Dense(
        features,
        use_bias=False,
        dtype=self.dtype,
        kernel_init=nn.initializers.normal(x.shape[-1] ** -0.5),
        name=name,
      )(x)

    h = getattr(nn, self.activation)(dense("shared_in", inner, x))
    if self.gated:
      h = h * dense("shared_linear", inner, x)
    return dense("shared_out", x.shape[-1], h.astype(jnp.dtype(self.dtype)))
