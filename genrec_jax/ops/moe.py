# SPDX-License-Identifier: Apache-2.0
"""Mixtures of feed-forward experts, of which each token takes a few.

    y_t = sum over the experts e of t of  g_te FFN_e(x_t)
    FFN_e(x) = (act(x W_in) [* x W_linear]) W_out            W of e, no biases

No token is dropped, whatever the load. By "blocks", pairs of a token and its
expert are sorted by expert, and a loop takes them in blocks of rows of one
expert: as many steps as there are such blocks, so what is computed follows the
pairs that there are. Uneven load costs time and nothing else. The backward pass
computes a block's inner vectors again and keeps none. "dense" computes every
expert for every token. Multiply-adds, and what the two cost a TPU, are in
docs/tpu.md.

On a mesh tokens are split over its axis `data` and experts over `model`: a
device computes those pairs of its tokens whose experts it holds, and their sum
over `model` is the result. Nothing travels but these sums.
Shapes: T tokens of width D, E experts of inner width F, K experts of a token.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Array, Float, Int

from genrec_jax.core.sharding import axis_for, mesh_to_split_over
from genrec_jax.core.suggest import choices_hint
from genrec_jax.ops.expert_blocks import Plan

Weights = Mapping[str, Float[Array, "E _ _"]]

_IMPLEMENTATIONS = ("blocks", "dense")


@dataclasses.dataclass(frozen=True)
class _Form:
  """What does not depend on arrays.

  Attributes:
    activation: act.
    dtype: of the products.
    share: of all experts, that a token takes on average.
  """

  activation: Callable[[Array], Array]
  dtype: str
  share: float

  def cast(self, weights: Mapping[str, Array]) -> dict[str, Array]:
    return {name: w.astype(self.dtype) for name, w in weights.items()}

  def inner(self, weights: Mapping[str, Array], product: Callable) -> Array:
    """The vectors of width F; `product` multiplies the tokens by a matrix."""
    h = self.activation(product(weights["in"]))
    return h * product(weights["linear"]) if "linear" in weights else h

  def gated(self, h: Array, gates: Array) -> Array:
    # Before the last product: the backward pass then needs no output.
    return (h.astype(jnp.float32) * gates[..., None]).astype(self.dtype)


def expert_mixture(
  x_TD: Float[Array, "T D"],
  weights: Weights,
  experts_TK: Int[Array, "T K"],
  gates_TK: Float[Array, "T K"],
  *,
  activation: Callable[[Array], Array] = jax.nn.silu,
  dtype: str = "float32",
  active: float | None = None,
  implementation: str | None = None,
) -> Float[Array, "T D"]:
  """Each token's experts, weighed by its gates; see the module docstring.

  Args:
    x_TD: tokens.
    weights: "in" (E, D, F), "out" (E, F, D), and "linear" (E, D, F) for gated
      linear units.
    experts_TK: a token's experts, all different; E stands for none.
    gates_TK: their weights.
    activation: of the inner vectors.
    dtype: of the products, and of the result.
    active: experts of a token on average, where some of the K are none.
    implementation: "blocks", "dense", or None: "dense" where tokens take half
      of the experts or more.

  Raises:
    ValueError: widths or numbers that do not fit, or another implementation.
  """
  num_experts = _checked(x_TD, weights, experts_TK, gates_TK)
  share = (experts_TK.shape[1] if active is None else active) / num_experts
  if implementation is None:
    implementation = "dense" if share >= 0.5 else "blocks"
  if implementation not in _IMPLEMENTATIONS:
    hint = choices_hint(implementation, _IMPLEMENTATIONS)
    raise ValueError(f"implementation={implementation!r} is unknown.{hint}")
  form = _Form(activation, dtype, share)
  run = _dense if implementation == "dense" else _blocks
  return run(form, x_TD, dict(weights), experts_TK, gates_TK)


def _checked(x_TD, weights, experts_TK, gates_TK) -> int:
  """The number of experts, once everything fits."""
  shapes = {name: w.shape for name, w in weights.items()}
  if not {"in", "out"} <= shapes.keys() <= {"in", "linear", "out"}:
    raise ValueError(
      f"weights are {', '.join(shapes) or 'none'}: give 'in' and 'out', and"
      " 'linear' for gated linear units."
    )
  num_experts, _, inner = shapes["in"]
  width = x_TD.shape[1]
  wanted = {"in": (num_experts, width, inner)}
  wanted |= {"linear": wanted["in"], "out": (num_experts, inner, width)}
  for name, shape in shapes.items():
    if shape != wanted[name]:
      raise ValueError(
        f"weights[{name!r}] have the shape {shape}, not {wanted[name]}, which"
        f" {num_experts} experts of inner width {inner} have for tokens of"
        f" width {width}."
      )
  if experts_TK.shape != gates_TK.shape or len(experts_TK) != len(x_TD):
    raise ValueError(
      f"{len(x_TD)} tokens, experts of shape {experts_TK.shape} and gates of"
      f" shape {gates_TK.shape} do not fit: both are (tokens, experts each)."
    )
  if experts_TK.shape[1] > num_experts:
    raise ValueError(
      f"a token cannot take {experts_TK.shape[1]} different experts of"
      f" {num_experts}."
    )
  return num_experts


def _dense(form: _Form, x_TD, weights, experts_TK, gates_TK):
  weights = form.cast(weights)
  x_TD = x_TD.astype(form.dtype)
  chosen_TKE = jax.nn.one_hot(experts_TK, len(weights["in"]))
  gates_TE = jnp.sum(chosen_TKE * gates_TK[:, :, None], axis=1)
  h_TEF = form.inner(weights, lambda w: jnp.einsum("td,edf->tef", x_TD, w))
  return jnp.einsum("tef,efd->td", form.gated(h_TEF, gates_TE), weights["out"])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocks(form: _Form, x_TD, weights, experts_TK, gates_TK):
  places = _Places.of(x_TD, weights)

  def local(x_TD, weights, experts_TK, gates_TK):
    experts_TK = places.held(experts_TK, weights)
    plan = Plan.of(experts_TK, len(weights["in"]), form.share)
    weights, x_TD = form.cast(weights), x_TD.astype(form.dtype)

    def step(number, y_TD):
      block = plan.block(number)
      y_bD = _block(
        form,
        block.of_expert(weights),
        block.of_tokens(x_TD),
        block.of_pairs(gates_TK),
      )
      return block.add_to_tokens(y_TD, y_bD)

    y_TD = jnp.zeros(x_TD.shape, jnp.float32)
    y_TD = lax.fori_loop(0, plan.num_blocks, step, y_TD)
    return places.sum_over_experts(y_TD.astype(form.dtype))

  return places.run(local, "tett", "t")(x_TD, weights, experts_TK, gates_TK)


def _blocks_forward(form, *arrays):
  return _blocks(form, *arrays), arrays


def _blocks_backward(form, arrays, grad_TD):
  x_TD, weights, experts_TK, gates_TK = arrays
  places = _Places.of(x_TD, weights)

  def local(x_TD, weights, experts_TK, gates_TK, grad_TD):
    experts_TK = places.held(experts_TK, weights)
    plan = Plan.of(experts_TK, len(weights["in"]), form.share)
    cast, tokens_TD = form.cast(weights), x_TD.astype(form.dtype)

    def step(number, sums):
      to_x_TD, to_weights, to_gates_TK = sums
      block = plan.block(number)
      _, pull = jax.vjp(
        functools.partial(_block, form),
        block.of_expert(cast),
        block.of_tokens(tokens_TD),
        block.of_pairs(gates_TK),
      )
      weights_e, x_bD, gates_b = pull(block.of_tokens(grad_TD))
      return (
        block.add_to_tokens(to_x_TD, x_bD),
        block.add_to_expert(to_weights, weights_e),
        block.put_to_pairs(to_gates_TK, gates_b),
      )

    def zeros(x):
      return jnp.zeros(x.shape, jnp.float32)

    start = zeros(x_TD), jax.tree.map(zeros, weights), zeros(gates_TK)
    sums = lax.fori_loop(0, plan.num_blocks, step, start)
    to_x_TD, to_weights, to_gates_TK = jax.tree.map(
      lambda total, x: total.astype(x.dtype), sums, (x_TD, weights, gates_TK)
    )
    return (
      places.sum_over_experts(to_x_TD),
      places.sum_over_tokens(to_weights),
      places.sum_over_experts(to_gates_TK),
    )

  run = places.run(local, "tettt", "tet")
  to_x_TD, to_weights, to_gates_TK = run(*arrays, grad_TD)
  return to_x_TD, to_weights, None, to_gates_TK


_blocks.defvjp(_blocks_forward, _blocks_backward)


def _block(form: _Form, weights, x_bD, gates_b):
  """One expert on the tokens of a block."""
  h_bF = form.inner(weights, lambda w: jnp.matmul(x_bD, w))
  return jnp.matmul(form.gated(h_bF, gates_b), weights["out"])


@dataclasses.dataclass(frozen=True)
class _Places:
  """Where tokens and experts lie.

  Attributes:
    mesh: None where one device has all.
    tokens: mesh axis that tokens are split over; None for none.
    experts: mesh axis that experts are split over; None for none.
  """

  mesh: AbstractMesh | None
  tokens: str | None = None
  experts: str | None = None

  @classmethod
  def of(cls, x_TD: Array, weights: Weights) -> "_Places":
    mesh = mesh_to_split_over()
    if mesh is None:
      return cls(None)
    return cls(
      mesh,
      axis_for(mesh, "data", len(x_TD)),
      axis_for(mesh, "model", len(weights["in"])),
    )

  def run(self, fn: Callable, given: str, taken: str) -> Callable:
    """fn on every device's part of arrays of tokens and of experts.

    Args:
      fn: what a device does.
      given: a letter for each argument: "t" is split by tokens, "e" by
        experts.
      taken: likewise of what it returns.
    """
    if self.mesh is None:
      return fn
    split = {
      "t": PartitionSpec(self.tokens),
      "e": PartitionSpec(self.experts),
    }
    out = tuple(split[letter] for letter in taken)
    return jax.shard_map(
      fn,
      in_specs=tuple(split[letter] for letter in given),
      out_specs=out if len(out) > 1 else out[0],
      check_vma=False,
    )

  def held(self, experts_TK: Array, weights: Weights) -> Array:
    """Experts by their place on this device; beyond the last, elsewhere."""
    if self.mesh is None or self.experts is None:
      return experts_TK
    here = len(weights["in"])
    local_TK = experts_TK - lax.axis_index(self.experts) * here
    return jnp.where((local_TK >= 0) & (local_TK < here), local_TK, here)

  def sum_over_experts(self, tree: Any) -> Any:
    return lax.psum(tree, self.experts) if self.experts else tree

  def sum_over_tokens(self, tree: Any) -> Any:
    return lax.psum(tree, self.tokens) if self.tokens else tree
