# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts of which every slot of a row has its own.

    y_ts = sum over the experts e of (t, s) of  g_tse FFN_se(x_ts)

Slots are kinds of features (layers/slot_feed_forward.py); expert e of slot s is
number s E + e of all, so that a mesh that splits experts splits slots first.
"blocks" takes the pairs that there are, as ops/moe.py does of any tokens;
"dense" computes every expert of its slot, one batched product for all.
Shapes: T tokens of S slots of width D, E experts a slot, K of them taken.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.suggest import choices_hint
from genrec_jax.ops.moe import expert_mixture

Weights = Mapping[str, Float[Array, "SE _ _"]]

_IMPLEMENTATIONS = ("blocks", "dense")


def numbered(
  experts_TSK: Int[Array, "T S K"], num_experts: int
) -> Int[Array, "T S K"]:
  """Experts by their number among those of all slots; S E for none.

  Args:
    experts_TSK: by their number in the slot; E for none.
    num_experts: E.
  """
  slots = experts_TSK.shape[1]
  first_S = (num_experts * jnp.arange(slots, dtype=experts_TSK.dtype))[
    None, :, None
  ]
  return jnp.where(
    experts_TSK < num_experts, first_S + experts_TSK, slots * num_experts
  )


def slot_mixture(
  x_TSD: Float[Array, "T S D"],
  weights: Weights,
  experts_TSK: Int[Array, "T S K"],
  gates_TSK: Float[Array, "T S K"],
  *,
  activation: Callable[[Array], Array] = jax.nn.silu,
  dtype: str = "float32",
  active: float | None = None,
  implementation: str | None = None,
) -> Float[Array, "T S D"]:
  """Each slot's experts, weighed by its gates; see the module docstring.

  Args:
    x_TSD: slots.
    weights: "in" (S E, D, F), "out" (S E, F, D), and "linear" (S E, D, F) for
      gated linear units.
    experts_TSK: by their number in the slot, all of one slot different; E
      stands for none.
    gates_TSK: their weights.
    activation: of the inner vectors.
    dtype: of the products, and of the result.
    active: experts of a slot on average, where some of the K are none.
    implementation: "blocks", "dense", or None: "dense" where slots take half
      of their experts or more.

  Raises:
    ValueError: numbers that do not fit, or another implementation.
  """
  tokens, slots, width = x_TSD.shape
  count = len(weights["in"])
  if count % slots:
    raise ValueError(
      f"{count} experts are not those of {slots} slots, as many each."
    )
  num_experts = count // slots
  taken = float(experts_TSK.shape[2] if active is None else active)
  if implementation is None:
    implementation = "dense" if taken >= 0.5 * num_experts else "blocks"
  if implementation not in _IMPLEMENTATIONS:
    hint = choices_hint(implementation, _IMPLEMENTATIONS)
    raise ValueError(f"implementation={implementation!r} is unknown.{hint}")
  if implementation == "dense":
    return _dense(
      x_TSD, weights, experts_TSK, gates_TSK, activation, jnp.dtype(dtype)
    )
  pairs = tokens * slots
  y_ND = expert_mixture(
    x_TSD.reshape(pairs, width),
    weights,
    numbered(experts_TSK, num_experts).reshape(pairs, -1),
    gates_TSK.reshape(pairs, -1),
    activation=activation,
    dtype=dtype,
    active=taken,
    implementation="blocks",
  )
  return y_ND.reshape(x_TSD.shape)


def _dense(x_TSD, weights, experts_TSK, gates_TSK, activation, dtype):
  slots = x_TSD.shape[1]
  matrices = {
    name: w.astype(dtype).reshape(slots, -1, *w.shape[1:])
    for name, w in weights.items()
  }
  chosen_TSKE = jax.nn.one_hot(experts_TSK, matrices["in"].shape[1])
  gates_TSE = jnp.sum(chosen_TSKE * gates_TSK[..., None], axis=2)
  x_TSD = x_TSD.astype(dtype)

  def inner(name):
    return jnp.einsum("tsd,sedf->tsef", x_TSD, matrices[name])

  h_TSEF = activation(inner("in"))
  if "linear" in matrices:
    h_TSEF = h_TSEF * inner("linear")
  h_TSEF = (h_TSEF.astype(jnp.float32) * gates_TSE[..., None]).astype(dtype)
  return jnp.einsum("tsef,sefd->tsd", h_TSEF, matrices["out"])
