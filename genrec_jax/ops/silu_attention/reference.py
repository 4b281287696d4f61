# SPDX-License-Identifier: Apache-2.0
"""Pointwise attention, slow and obvious: every (query, key) pair in memory.

    y_i = weight_i * sum over visible j of SiLU(scale q_i k_j + bias_ij) v_j

It defines what the other implementations must give; gradients come from
differentiating it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention.rows import Rows


def reference(
  q_BQHK: Float[Array, "B Q H K"],
  k_BMHK: Float[Array, "B M H K"],
  v_BMHA: Float[Array, "B M H A"],
  rows: Rows,
  bias: BiasTables,
  scale: float,
) -> Float[Array, "B Q H A"]:
  """See the module; computes in the dtype of its inputs."""
  weights_BHQM = attention_weights(q_BQHK, k_BMHK, rows, bias, scale)
  return jnp.einsum("bhqm,bmha->bqha", weights_BHQM, v_BMHA)


def attention_weights(
  q_BQHK: Float[Array, "B Q H K"],
  k_BMHK: Float[Array, "B M H K"],
  rows: Rows,
  bias: BiasTables,
  scale: float,
) -> Float[Array, "B H Q M"]:
  """What values are multiplied with; 0 where a query sees no key.

  SiLU falls to -0.28 before it rises: weights may be negative, and they do not
  sum to 1.
  """
  scores_BHQM = jnp.einsum("bqhk,bmhk->bhqm", q_BQHK, k_BMHK) * scale
  positions = rows.key_positions_BM[:, None, :]
  offset_BQM = positions - rows.query_positions_BQ[:, :, None]
  times = rows.key_times_BM[:, None, :]
  seconds_BQM = rows.query_times_BQ[:, :, None] - times
  bias_BHQM = bias.of_pairs(offset_BQM, seconds_BQM)
  if bias_BHQM is not None:
    scores_BHQM = scores_BHQM + bias_BHQM.astype(scores_BHQM.dtype)
  weight_B1Q1 = rows.weight_BQ.astype(scores_BHQM.dtype)[:, None, :, None]
  weights_BHQM = jax.nn.silu(scores_BHQM) * weight_B1Q1
  mask_B1QM = rows.visible.mask(k_BMHK.shape[1])[:, None]
  return jnp.where(mask_B1QM, weights_BHQM, 0)
