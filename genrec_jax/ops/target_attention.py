# SPDX-License-Identifier: Apache-2.0
"""Attention of targets of a few tokens: over a context, and over themselves.

    attend_context   y_bsi = softmax_n(<q_bsi, k_bn> + added) @ v_bn,  n is seen
    attend_before    y_bsi = softmax_j(<q_bsi, k_bsj> + added) @ v_bsj,   j <= i

A row b holds one context for all of its targets s, of which each sees what its
mask says. Keys and values may have fewer heads than queries: G heads serve H
queries, consecutive ones together (grouped queries; Ainslie et al., EMNLP
2023). Scores are not divided by sqrt(E); weights are float32.

Shapes: B rows, S targets of a row, M tokens of a target, N tokens of context,
H heads of E, G heads of keys and values.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def attend_context(
  q_BSMHE: Float[Array, "B S M H E"],
  k_BNGE: Float[Array, "B N G E"],
  v_BNGA: Float[Array, "B N G A"],
  sees_BSN: Bool[Array, "B S N"],
  added_BHSN: Float[Array, "#B H S N"] | None = None,
) -> Float[Array, "B S M H A"]:
  """Every token of a target sees the same of the context; 0 where none.

  Args:
    q_BSMHE: queries.
    k_BNGE: keys of the context.
    v_BNGA: its values.
    sees_BSN: what each target sees of it.
    added_BHSN: to the scores.
  """
  groups = k_BNGE.shape[2]
  q = _grouped(q_BSMHE, groups)
  scores = jnp.einsum("bsigre,bnge->bsgrin", q, k_BNGE).astype(jnp.float32)
  if added_BHSN is not None:
    rows, heads, *rest = added_BHSN.shape
    added = added_BHSN.reshape(rows, groups, heads // groups, *rest)
    scores = scores + jnp.moveaxis(added, 3, 1)[:, :, :, :, None]
  sees = sees_BSN[:, :, None, None, None]
  # A finite floor: what sees nothing gets uniform weights, which the second
  # mask removes, and not NaN.
  floor = jnp.finfo(jnp.float32).min
  weights = jax.nn.softmax(jnp.where(sees, scores, floor))
  weights = jnp.where(sees, weights, 0).astype(v_BNGA.dtype)
  y = jnp.einsum("bsgrin,bnga->bsigra", weights, v_BNGA)
  return y.reshape(*q_BSMHE.shape[:4], -1)


def attend_before(
  q_BSMHE: Float[Array, "B S M H E"],
  k_BSMGE: Float[Array, "B S M G E"],
  v_BSMGA: Float[Array, "B S M G A"],
  added_HMM: Float[Array, "H M M"] | None = None,
) -> Float[Array, "B S M H A"]:
  """Causal attention within each target.

  Args:
    q_BSMHE: queries.
    k_BSMGE: keys.
    v_BSMGA: values.
    added_HMM: to the scores, by query and key.
  """
  groups, tokens = k_BSMGE.shape[3], q_BSMHE.shape[2]
  q = _grouped(q_BSMHE, groups)
  scores = jnp.einsum("bsigre,bsjge->bsgrij", q, k_BSMGE).astype(jnp.float32)
  if added_HMM is not None:
    added = added_HMM.reshape(groups, -1, tokens, tokens)
    scores = scores + added[None, None]
  index = jnp.arange(tokens)
  before = index[None, :] <= index[:, None]
  scores = jnp.where(before[None, None, None, None], scores, -jnp.inf)
  weights = jax.nn.softmax(scores).astype(v_BSMGA.dtype)
  y = jnp.einsum("bsgrij,bsjga->bsigra", weights, v_BSMGA)
  return y.reshape(*q_BSMHE.shape[:4], -1)


def _grouped(q_BSMHE, groups):
  """(B, S, M, G, H / G, E): each head of keys with the queries it serves."""
  *lead, heads, width = q_BSMHE.shape
  return q_BSMHE.reshape(*lead, groups, heads // groups, width)
