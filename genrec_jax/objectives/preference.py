# SPDX-License-Identifier: Apache-2.0
"""Of two answers one is better: losses on the log-probabilities of both.

With h = log p(chosen) / r(chosen) - log p(rejected) / r(rejected), in nats, p
the policy and r the frozen reference that it started from, and x = beta h:

    DPO    -log s(x)                          Rafailov et al., arXiv 2305.18290
    cDPO   -(1 - e) log s(x) - e log s(-x)    Mitchell, 2023: a share e of the
                                              preferences is the wrong way round
    IPO    (h - 1 / (2 beta))^2               Azar et al., arXiv 2310.12036
    S-DPO  -log s(-log sum_n e^{-x_n})        Chen et al., arXiv 2406.09215

s is the sigmoid. DPO and S-DPO push for ever; cDPO is at rest at
x = log((1 - e) / e), IPO at h = 1 / (2 beta), its beta being their tau. A
policy that is the reference has a DPO loss of log 2.

A log-probability is one number per answer: the sum over its tokens, in any
float dtype; all is computed in float32. IPO's square grows with the length of
answers: where lengths differ, give it means over tokens (as TRL does).
The reference has no gradient. Every loss is (loss, {name: Mean}) with the
means of

    margin      h, of pairs of a chosen and a rejected answer
    accuracy    share of pairs with h > 0

Without a pair the loss is 0, and so is its gradient. How many pairs `where`
leaves is known inside of jit alone, so that is no error. Dropped pairs may hold
anything. Shapes: B chosen answers, N rejected ones of each.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.types import Mean

Parts = dict[str, Mean]

_MASKED = -1e9


def dpo(
  policy_chosen_B: Float[Array, "B"],
  policy_rejected_B: Float[Array, "B"],
  reference_chosen_B: Float[Array, "B"],
  reference_rejected_B: Float[Array, "B"],
  *,
  beta: float = 0.1,
  label_smoothing: float = 0.0,
  where: Bool[Array, "B"] | None = None,
  weights: Float[Array, "B"] | None = None,
) -> tuple[Float[Array, ""], Parts]:
  """DPO, and cDPO with label smoothing; see the module docstring.

  Args:
    policy_chosen_B, policy_rejected_B: log-probabilities under what is trained.
    reference_chosen_B, reference_rejected_B: under what it started from.
    beta: how dear it is to leave the reference; larger stays nearer.
    label_smoothing: e, the share of preferences taken to be wrong.
    where: pairs that count.
    weights: of the pairs in every mean.

  Raises:
    ValueError: beta is not above 0, label_smoothing not in [0, .5), or shapes
      differ.
  """
  _check_beta(beta)
  if not 0 <= label_smoothing < 0.5:
    raise ValueError(
      f"label_smoothing={label_smoothing!r} must be at least 0 and below .5: at"
      " .5 neither answer is the better one."
    )
  chosen = policy_chosen_B, reference_chosen_B
  rejected = policy_rejected_B, reference_rejected_B
  h_B, where_B = _margin(chosen, rejected, where)
  loss_B = jax.nn.softplus(-beta * h_B)
  if label_smoothing:
    wrong_B = jax.nn.softplus(beta * h_B)
    loss_B += label_smoothing * (wrong_B - loss_B)
  mean = Mean.of(loss_B, where=where_B, weights=weights)
  return mean.compute(), {"dpo": mean} | _watched(h_B, where_B, weights)


def ipo(
  policy_chosen_B: Float[Array, "B"],
  policy_rejected_B: Float[Array, "B"],
  reference_chosen_B: Float[Array, "B"],
  reference_rejected_B: Float[Array, "B"],
  *,
  beta: float = 0.1,
  where: Bool[Array, "B"] | None = None,
  weights: Float[Array, "B"] | None = None,
) -> tuple[Float[Array, ""], Parts]:
  """IPO, in nats squared; see the module docstring, and dpo for arguments.

  Raises:
    ValueError: beta is not above 0, or shapes differ.
  """
  _check_beta(beta)
  chosen = policy_chosen_B, reference_chosen_B
  rejected = policy_rejected_B, reference_rejected_B
  h_B, where_B = _margin(chosen, rejected, where)
  loss_B = jnp.square(h_B - 1 / (2 * beta))
  mean = Mean.of(loss_B, where=where_B, weights=weights)
  return mean.compute(), {"ipo": mean} | _watched(h_B, where_B, weights)


def softmax_dpo(
  policy_chosen_B: Float[Array, "B"],
  policy_rejected_BN: Float[Array, "B N"],
  reference_chosen_B: Float[Array, "B"],
  reference_rejected_BN: Float[Array, "B N"],
  *,
  beta: float = 0.1,
  where: Bool[Array, "B N"] | None = None,
  weights: Float[Array, "B"] | None = None,
) -> tuple[Float[Array, ""], Parts]:
  """S-DPO: one chosen answer against several; DPO where that is one.

  Args:
    policy_chosen_B, policy_rejected_BN: log-probabilities under what is
      trained.
    reference_chosen_B, reference_rejected_BN: under what it started from.
    beta: as in dpo.
    where: rejected answers that count; a chosen one without any is dropped.
    weights: of the chosen answers in every mean.

  Raises:
    ValueError: beta is not above 0, or shapes differ.
  """
  _check_beta(beta)
  rejected = policy_rejected_BN, reference_rejected_BN
  where_BN = _checked_where(where, *rejected)
  where_B = jnp.any(where_BN, axis=1)
  chosen = policy_chosen_B, reference_chosen_B
  _checked_where(where_B, *chosen)
  gain_B = _gain(*chosen, where_B)
  h_BN = gain_B[:, None] - _gain(*rejected, where_BN)
  against_BN = jnp.where(where_BN, -beta * h_BN, _MASKED)
  loss_B = jax.nn.softplus(jax.nn.logsumexp(against_BN, axis=1))
  mean = Mean.of(loss_B, where=where_B, weights=weights)
  if weights is not None:
    weights = jnp.broadcast_to(weights[:, None], h_BN.shape)
  return mean.compute(), {"softmax_dpo": mean} | _watched(
    h_BN, where_BN, weights
  )


def _check_beta(beta: float) -> None:
  if not 0 < beta < math.inf:
    raise ValueError(f"beta={beta!r} must be above 0.")


def _checked_where(where: Array | None, *arrays: Array) -> Array:
  """`where`, or all; they and the arrays are of one shape."""
  shape = arrays[0].shape
  where = jnp.ones(shape, bool) if where is None else where
  shapes = [x.shape for x in (*arrays, where)]
  if shapes != [shape] * len(shapes):
    raise ValueError(
      "log-probabilities of the policy, of the reference and `where` are of the"
      f" shapes {shapes}: make them one."
    )
  return where


def _gain(policy: Array, reference: Array, where: Array) -> Array:
  """log p / r in float32; 0, without a gradient, where dropped."""
  reference = jax.lax.stop_gradient(reference.astype(jnp.float32))
  return jnp.where(where, policy.astype(jnp.float32) - reference, 0.0)


def _margin(
  chosen: tuple[Array, Array],
  rejected: tuple[Array, Array],
  where: Array | None,
) -> tuple[Array, Array]:
  """h of pairs, and which count."""
  where = _checked_where(where, *chosen, *rejected)
  return _gain(*chosen, where) - _gain(*rejected, where), where


def _watched(h: Array, where: Array, weights: Array | None) -> Parts:
  right = (h > 0).astype(jnp.float32)
  return {
    "margin": Mean.of(h, where=where, weights=weights),
    "accuracy": Mean.of(right, where=where, weights=weights),
  }
