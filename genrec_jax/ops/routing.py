# SPDX-License-Identifier: Apache-2.0
"""Which experts a token takes, and how their load is kept even.

    top-k    p = softmax(logits);  the k largest p_e + b_e;  gate p_e, or
             p_e / sum of the chosen p
    ReLU     gate relu(logit_e): as many experts as are above 0

b is for the choice alone and enters no gate and no gradient; after a step it
moves by the sign of what an expert has too little of (Wang et al., arXiv
2408.15664). ReLU gates pay for what they let through, at a price that rises
while too few of them are 0 and falls while too many are (ReMoE, arXiv
2412.14711, section 3.3). Tokens where `where_T` does not hold take no expert:
their experts are E, the number of experts, and their gates 0.
Shapes: T tokens, E experts, K experts of a token (E for ReLU).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Prices between which a coefficient is kept: from 0 none would ever rise.
_CHEAPEST, _DEAREST = 1e-10, 1e4


class Choice(NamedTuple):
  """The experts of tokens, all of one token different.

  Attributes:
    experts: (T, K) int32; E where there is none.
    gates: (T, K) float32; 0 where there is none.
  """

  experts: Array
  gates: Array


def top_k_choice(
  scores_TE: Float[Array, "T E"],
  where_T: Bool[Array, "T"],
  count: int,
  *,
  bias_E: Float[Array, "E"] | None = None,
  normalized: bool = False,
) -> Choice:
  """The `count` best experts of each token; of equals the first.

  Args:
    scores_TE: softmax of the router's logits.
    where_T: which tokens are real.
    count: K.
    bias_E: added for the choice.
    normalized: gates of a token sum to 1.

  Raises:
    ValueError: more experts than there are, or none.
  """
  num_experts = scores_TE.shape[1]
  check_count(count, num_experts)
  ranked_TE = jax.lax.stop_gradient(scores_TE)
  if bias_E is not None:
    ranked_TE = ranked_TE + jax.lax.stop_gradient(bias_E)[None, :]
  experts_TK = jax.lax.top_k(ranked_TE, count)[1]
  gates_TK = jnp.take_along_axis(scores_TE, experts_TK, axis=1)
  if normalized:
    gates_TK = gates_TK / jnp.sum(gates_TK, axis=1, keepdims=True)
  return Choice(
    jnp.where(where_T[:, None], experts_TK, num_experts),
    jnp.where(where_T[:, None], gates_TK, 0.0),
  )


def check_count(count: int, num_experts: int) -> None:
  """Raises a ValueError where a token cannot take so many experts."""
  if not 1 <= count <= num_experts:
    raise ValueError(
      f"a token cannot take {count} of {num_experts} experts: give 1 to"
      f" {num_experts}."
    )


def relu_choice(
  logits_TE: Float[Array, "T E"],
  where_T: Bool[Array, "T"],
  least: float = 0.0,
) -> Choice:
  """Every expert whose logit is above 0.

  Args:
    logits_TE: of the router.
    where_T: which tokens are real.
    least: f, where a token must not be left without any: below f the gate of
      its best expert is f^2 / (2 f - logit), which falls to 0 and never is it.
      0 lets all of a token's gates be 0.
  """
  num_experts = logits_TE.shape[1]
  gates_TE = jax.nn.relu(logits_TE)
  if least:
    best_TE = jax.nn.one_hot(jnp.argmax(logits_TE, axis=1), num_experts) > 0
    # Value and slope go on where the logit falls below f.
    tail_TE = least**2 / (2 * least - jnp.minimum(logits_TE, least))
    low_TE = best_TE & (logits_TE < least)
    gates_TE = jnp.where(low_TE, tail_TE, gates_TE)
  gates_TE = jnp.where(where_T[:, None], gates_TE, 0.0)
  experts_TE = jnp.where(gates_TE > 0, jnp.arange(num_experts)[None, :], -1)
  return Choice(jnp.where(experts_TE < 0, num_experts, experts_TE), gates_TE)


def expert_load(
  experts_TK: Int[Array, "T K"], num_experts: int
) -> Float[Array, "E"]:
  """Tokens of each expert."""
  taken_NE = experts_TK.reshape(-1)[:, None] == jnp.arange(num_experts)[None, :]
  return jnp.sum(taken_NE, axis=0, dtype=jnp.float32)


def load_peak(load_E: Float[Array, "E"]) -> Float[Array, ""]:
  """The largest load over the mean one: 1 is even, E one expert for all."""
  return jnp.max(load_E) / jnp.maximum(jnp.mean(load_E), 1e-9)


def dead_experts(load_E: Float[Array, "E"]) -> Float[Array, ""]:
  """How many experts no token takes."""
  return jnp.sum(load_E == 0, dtype=jnp.float32)


def entropy(scores_TE: Float[Array, "T E"]) -> Float[Array, "T"]:
  """Of what a router gives to experts, in nats; 0 where it gives nothing.

  Args:
    scores_TE: of 0 or more; they need not sum to 1.
  """
  total_T1 = jnp.sum(scores_TE, axis=1, keepdims=True)
  p_TE = scores_TE / jnp.where(total_T1 > 0, total_T1, 1.0)
  return -jnp.sum(p_TE * jnp.log(jnp.where(p_TE > 0, p_TE, 1.0)), axis=1)


def moved_bias(
  bias_E: Float[Array, "E"], load_E: Float[Array, "E"], rate: float
) -> Float[Array, "E"]:
  """b after a step: up by `rate` below the mean load, down by it above."""
  # A mean would be rounded, and then no load equals it.
  missing_E = jnp.sum(load_E) - load_E.shape[0] * load_E
  return bias_E + rate * jnp.sign(missing_E)


def balance_loss(
  scores_TE: Float[Array, "T E"], load_E: Float[Array, "E"]
) -> Float[Array, "T"]:
  """E sum_e f_e p_te, f_e an expert's share of the load; 1 where all is even.

  Its mean over tokens is the loss of Switch Transformers (arXiv 2101.03961,
  equation 4), without its weight.
  """
  share_E = load_E / jnp.maximum(jnp.sum(load_E), 1.0)
  return scores_TE.shape[1] * jnp.sum(scores_TE * share_E[None, :], axis=1)


def z_loss(logits_TE: Float[Array, "T E"]) -> Float[Array, "T"]:
  """Square of the logits' log-sum-exp (ST-MoE, arXiv 2202.08906, section 3)."""
  return jnp.square(jax.nn.logsumexp(logits_TE, axis=1))


def relu_penalty(
  gates_TE: Float[Array, "T E"],
  load_E: Float[Array, "E"] | None,
  num_tokens: Float[Array, ""],
  sparsity: float,
) -> Float[Array, "T"]:
  """sum_e f_e G_te: what the gates of a token let through.

  Args:
    gates_TE: of relu_choice.
    load_E: f_e is an expert's load over what each would have at the wanted
      sparsity, which evens the load; None: f_e = 1.
    num_tokens: that are real.
    sparsity: share of gates that should be 0.
  """
  if load_E is None:
    return jnp.sum(gates_TE, axis=1)
  wanted = jnp.maximum(num_tokens, 1.0) * (1 - sparsity)
  return jnp.sum(gates_TE * (load_E / wanted)[None, :], axis=1)


def moved_coefficient(
  coefficient: Float[Array, ""],
  load_E: Float[Array, "E"],
  num_tokens: Float[Array, ""],
  sparsity: float,
  factor: float,
) -> Float[Array, ""]:
  """The price of ReLU gates after a step: times or over `factor`.

  Args:
    coefficient: of the step.
    load_E: of its tokens.
    num_tokens: that are real; without any the price stays.
    sparsity: share of gates that should be 0.
    factor: above 1.
  """
  gates = jnp.maximum(num_tokens * load_E.shape[0], 1.0)
  rises = jnp.sign(sparsity - (1 - jnp.sum(load_E) / gates))
  moved = coefficient * factor ** jnp.where(num_tokens > 0, rises, 0.0)
  return jnp.clip(moved, _CHEAPEST, _DEAREST)
