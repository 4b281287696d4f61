# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of labels of several types, each within its own type.

    log p_t = z_t[label_t] - log sum over c of label_t's type of exp z_t[c]

A softmax never spans two types: what type comes next is known, and a model is
asked which token of it. Types have as many tokens as they like, so the places
of a type are gathered before their logits are made, (B, N_k, C_k) for at most
N_k places a row, in place of (B, L, V) of all tokens. Float32 throughout.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def places_where(
  where_BL: Bool[Array, "B L"], most: int
) -> tuple[Int[Array, "B N"], Bool[Array, "B 1"]]:
  """The first N places of each row where it holds; L where there are fewer.

  Also whether a row has more than N.

  Args:
    where_BL: what is looked for.
    most: N.
  """
  rows, length = where_BL.shape
  rank_BL = jnp.cumsum(where_BL, axis=1) - 1
  # Not looked for, or beyond the last: dropped.
  rank_BL = jnp.where(where_BL, rank_BL, most)
  place_L = jnp.arange(length, dtype=jnp.int32)
  place_BN = jnp.full((rows, most), length, jnp.int32)
  place_BN = place_BN.at[jnp.arange(rows)[:, None], rank_BL].set(
    jnp.broadcast_to(place_L[None], where_BL.shape), mode="drop"
  )
  more_B1 = jnp.sum(where_BL, axis=1, keepdims=True) > most
  return place_BN, more_B1


def typed_log_probs(
  h_BLD: Float[Array, "B L D"],
  label_BL: Int[Array, "B L"],
  type_BL: Int[Array, "B L"],
  logits_of: Callable[[Float[Array, "B N D"], int], Float[Array, "B N C"]],
  start_K: Sequence[int],
  most_K: Sequence[int],
) -> Float[Array, "B L"]:
  """log p of each label within its type; 0 where a type is not looked at.

  Args:
    h_BLD: states that labels are asked for at.
    label_BL: tokens of the joint vocabulary.
    type_BL: their types.
    logits_of: (states, type) -> logits of the type's tokens.
    start_K: first token of each type.
    most_K: places of each type that a row has at most; 0 = a type that is not
      looked at. Rows with more are NaN, for none may be left out unseen.
  """
  rows, length, _ = h_BLD.shape
  row_B1 = jnp.arange(rows)[:, None]
  found_BL = jnp.zeros((rows, length), jnp.float32)
  for kind, most in enumerate(most_K):
    if not most:
      continue
    place_BN, more_B1 = places_where(type_BL == kind, most)
    inside_BN = jnp.minimum(place_BN, length - 1)
    h_BND = jnp.take_along_axis(h_BLD, inside_BN[:, :, None], axis=1)
    logits_BNC = logits_of(h_BND, kind).astype(jnp.float32)
    value_BN = jnp.take_along_axis(label_BL, inside_BN, axis=1) - start_K[kind]
    value_BN = jnp.clip(value_BN, 0, logits_BNC.shape[-1] - 1)
    log_p_BN = jnp.take_along_axis(
      jax.nn.log_softmax(logits_BNC), value_BN[:, :, None], axis=2
    )[:, :, 0]
    found_BL = found_BL.at[row_B1, place_BN].set(log_p_BN, mode="drop")
    found_BL = jnp.where(more_B1, jnp.nan, found_BL)
  return found_BL
