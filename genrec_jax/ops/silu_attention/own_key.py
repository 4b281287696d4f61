# SPDX-License-Identifier: Apache-2.0
"""What a query has of its own key where its interval leaves that out.

    y_i += weight_i SiLU(scale q_i k_i + bias_ii) v_i

A candidate, or a position with a limit of its own, sees an interval of the keys
and itself (ops/visible_keys.py). Blocks of pairs then compute the interval
alone, and this one pair per query is a product beside them.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention.rows import Rows
from genrec_jax.ops.time_buckets import bucket_thresholds
from genrec_jax.ops.visible_keys import VisibleKeys


def alone(visible: VisibleKeys) -> Bool[Array, "B Q"]:
  """Where a query's own key is not in its interval."""
  own = visible.own_BQ
  return (own >= 0) & ((own < visible.first_BQ) | (own >= visible.end_BQ))


def without_own(rows: Rows) -> Rows:
  """Queries see their intervals alone."""
  visible = rows.visible
  some = visible.end_BQ > visible.first_BQ
  own = jnp.where(alone(visible), visible.first_BQ, visible.own_BQ)
  return dataclasses.replace(
    rows,
    visible=dataclasses.replace(visible, own_BQ=jnp.where(some, own, -1)),
  )


def attend_to_own(
  q_BQHK: Float[Array, "B Q H K"],
  own_k_BQHK: Float[Array, "B Q H K"],
  own_v_BQHA: Float[Array, "B Q H A"],
  own_times_BQ: Int[Array, "B Q"],
  rows: Rows,
  bias: BiasTables,
  scale: float,
) -> Float[Array, "B Q H A"]:
  """See the module; 0 for queries whose interval holds their own key.

  Args:
    q_BQHK: queries.
    own_k_BQHK: the key of each query's own position.
    own_v_BQHA: likewise.
    own_times_BQ: likewise, seconds.
    rows: of the queries.
    bias: of distance 0, at which slopes add nothing.
    scale: multiplies q k^T.
  """
  scores_BHQ = scale * jnp.einsum(
    "bqhk,bqhk->bhq", q_BQHK, own_k_BQHK, preferred_element_type=jnp.float32
  )
  if bias.position is not None:
    scores_BHQ += jnp.atleast_2d(bias.position)[None, :, bias.reach, None]
  if bias.time is not None:
    scores_BHQ += _time_bias(bias, rows.query_times_BQ - own_times_BQ)
  weight_BQ = jnp.where(alone(rows.visible), rows.weight_BQ, 0)
  p_BHQ = jax.nn.silu(scores_BHQ) * weight_BQ[:, None]
  p_BHQ = p_BHQ.astype(own_v_BQHA.dtype)
  return jnp.einsum("bhq,bqha->bqha", p_BHQ, own_v_BQHA)


def _time_bias(bias, seconds_BQ):
  """(B, #H, Q), by products with ones: a TPU gathers one number at a time."""
  count = bias.time.shape[-1]
  thresholds = jnp.array(bucket_thresholds(bias.bucket_width)[: count - 1])
  seconds_BQ = jnp.abs(jnp.maximum(seconds_BQ, -jnp.iinfo(jnp.int32).max))
  passed_BQT = seconds_BQ[:, :, None] >= thresholds[None, None, :]
  bucket_BQ = jnp.sum(passed_BQT, axis=2)
  return jnp.einsum(
    "bqt,ht->bhq",
    jax.nn.one_hot(bucket_BQ, count),
    jnp.atleast_2d(bias.time),
    precision=jax.lax.Precision.HIGHEST,
  )
