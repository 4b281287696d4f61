# SPDX-License-Identifier: Apache-2.0
"""Softmax attention on packed rows, with optional bias and dropout.

    y = softmax(scale q k^T + bias, over the mask) @ v

Weights are float32 whatever the compute dtype. The mask comes before the
softmax, so padding and the future never share the mass. On a CPU a few rows
run at a time and scores are recomputed in the backward pass.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.dropout_mask import keep_mask, keep_share
from genrec_jax.ops.packed_rows import map_row_blocks
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.visible_keys import visible_keys


def softmax_attention(
  q_BLHK: Float[Array, "B L H K"],
  k_BLHK: Float[Array, "B L H K"],
  v_BLHA: Float[Array, "B L H A"],
  info: SequenceInfo,
  *,
  bias: BiasTables | None = None,
  added_HLL: Float[Array, "H L L"] | None = None,
  scale: float = 1.0,
  dropout: float = 0.0,
  dropout_key: Key[Array, ""] | None = None,
) -> Float[Array, "B L H A"]:
  """Softmax attention; 0 where a query sees nothing.

  Args:
    q_BLHK: queries.
    k_BLHK: keys.
    v_BLHA: values.
    info: packed rows.
    bias: added to the scores of every head.
    added_HLL: likewise, by query and key index and the same in every row. In a
      packed row positions differ by what indices differ by, so a bias by
      position can be given so: it costs no look-up per row.
    scale: multiplies q k^T.
    dropout: rate at which weights are dropped, the rest scaled up.
    dropout_key: randomness of the dropout; None drops nothing.
  """
  bias = BiasTables() if bias is None else bias
  bias.check(q_BLHK.shape[2])
  rows = q_BLHK.shape[0]
  keys_B = None
  if dropout_key is not None and dropout > 0:
    # A key per row: rows drop the same weights in any grouping.
    keys_B = jax.random.split(dropout_key, rows)

  def attend(arrays):
    q, k, v, info, keys_B = arrays
    scores_BHLL = jnp.einsum("bihk,bjhk->bhij", q, k).astype(jnp.float32)
    scores_BHLL = scores_BHLL * scale
    positions, times = info.positions_BL, info.key_times_BL
    added_BHLL = bias.of_pairs(
      positions[:, None, :] - positions[:, :, None],
      info.query_times_BL[:, :, None] - times[:, None, :],
    )
    if added_BHLL is not None:
      scores_BHLL = scores_BHLL + added_BHLL
    if added_HLL is not None:
      scores_BHLL = scores_BHLL + added_HLL[None]
    keep_BHLL = visible_keys(info).mask(q.shape[1])[:, None]
    # A finite floor: a query that sees nothing gets uniform weights, not NaN,
    # and the second mask removes them.
    floor = jnp.finfo(jnp.float32).min
    weights_BHLL = jax.nn.softmax(jnp.where(keep_BHLL, scores_BHLL, floor))
    if keys_B is not None:
      shape = weights_BHLL.shape[1:]
      drawn = jax.vmap(lambda x: keep_mask(x, dropout, shape))
      keep_BHLL = keep_BHLL & drawn(keys_B)
      weights_BHLL = weights_BHLL / keep_share(dropout)
    weights_BHLL = jnp.where(keep_BHLL, weights_BHLL, 0).astype(v.dtype)
    return jnp.einsum("bhij,bjha->biha", weights_BHLL, v)

  arrays = (q_BLHK, k_BLHK, v_BLHA, info, keys_B)
  return lax.platform_dependent(
    arrays,
    cpu=lambda x: map_row_blocks(jax.checkpoint(attend), x),
    default=attend,
  )
