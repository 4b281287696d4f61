# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy over all items without a (tokens x items) array.

    loss[t] = logsumexp_v(<query[t], table[v]> + bias[v]) - score of label[t]

Tokens are taken in blocks and items in blocks; a running maximum and sum give
the logsumexp, and the backward pass recomputes each block of scores instead
of keeping it. Memory: one (token block x item block) of float32 beside the
inputs and the table's gradient. Time: 4 products of T x V x D instead of 3,
float32 ones on every device (ops/precision.py).
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.ops.blocks import count_blocks, join, split
from genrec_jax.ops.precision import SCORES

# 2^21 float32 scores are 8 MiB: they stay in a CPU's last-level cache.
_BLOCK_SCORES = 1 << 21
_ITEM_BLOCK = 1 << 14


def linear_cross_entropy(
  query_TD: Float[Array, "T D"],
  table_VD: Float[Array, "V D"],
  labels_T: Int[Array, "T"],
  *,
  skip_first: bool = True,
  keep_V: Bool[Array, "V"] | None = None,
  item_block: int = _ITEM_BLOCK,
) -> Float[Array, "T"]:
  """Per-token cross-entropy against the whole table, in float32.

  Args:
    query_TD: one vector per token (scale it for a temperature).
    table_VD: item vectors.
    labels_T: row of the table that is right, per token.
    skip_first: leave row 0 (padding) out of the sum.
    keep_V: rows that are in the sum; None = all.
    item_block: rows of the table scored at once.

  Returns:
    One loss per token; tokens labelled 0 get a value the caller must mask.
  """
  num_items = table_VD.shape[0]
  item_block = min(item_block, num_items)
  blocks = -(-num_items // item_block)
  rows = jnp.arange(blocks * item_block)
  keep = (rows < num_items) & ((rows > 0) | (not skip_first))
  if keep_V is not None:
    keep = keep & jnp.pad(keep_V, (0, len(rows) - num_items))
  bias_V = jnp.where(keep, 0.0, -jnp.inf).astype(jnp.float32)
  padded = jnp.pad(table_VD, ((0, blocks * item_block - num_items), (0, 0)))
  lse_T = _log_sum_exp(query_TD, padded, bias_V, item_block)
  label_score_T = jnp.einsum(
    "td,td->t",
    query_TD,
    table_VD[labels_T],
    precision=SCORES,
    preferred_element_type=jnp.float32,
  )
  return lse_T - label_score_T


def _scores(query, table, bias):
  scores = lax.dot(
    query, table.T, precision=SCORES, preferred_element_type=jnp.float32
  )
  return scores + bias[None, :]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _log_sum_exp(query_TD, table_VD, bias_V, item_block):
  """logsumexp over the table for every token."""
  num_tokens = query_TD.shape[0]
  count = count_blocks(num_tokens, _BLOCK_SCORES // item_block)
  tables = table_VD.reshape(-1, item_block, table_VD.shape[1])
  biases = bias_V.reshape(-1, item_block)

  def per_tokens(query):
    def per_items(carry, block):
      maximum, total = carry
      scores = _scores(query, *block)
      new = jnp.maximum(maximum, jnp.max(scores, axis=1))
      # A block may hold padding only: exp(-inf - -inf) would be NaN.
      shift = jnp.where(jnp.isfinite(new), new, 0.0)
      total = total * jnp.exp(maximum - shift)
      total = total + jnp.sum(jnp.exp(scores - shift[:, None]), axis=1)
      return (new, total), None

    size = query.shape[0]
    start = (jnp.full((size,), -jnp.inf), jnp.zeros((size,)))
    (maximum, total), _ = lax.scan(per_items, start, (tables, biases))
    return maximum + jnp.log(total)

  return join(lax.map(per_tokens, split(query_TD, count)), num_tokens)


def _forward(query_TD, table_VD, bias_V, item_block):
  lse_T = _log_sum_exp(query_TD, table_VD, bias_V, item_block)
  return lse_T, (query_TD, table_VD, bias_V, lse_T)


def _backward(item_block, residuals, grad_T):
  query_TD, table_VD, bias_V, lse_T = residuals
  num_tokens, width = query_TD.shape
  count = count_blocks(num_tokens, _BLOCK_SCORES // item_block)
  tables = table_VD.reshape(-1, item_block, width)
  biases = bias_V.reshape(-1, item_block)

  def per_tokens(grad_tables, block):
    query, lse, grad = block

    def per_items(grad_query, item):
      table, bias, grad_table = item
      weights = jnp.exp(_scores(query, table, bias) - lse[:, None])
      weights = weights * grad[:, None]
      table, tokens = table.astype(jnp.float32), query.astype(jnp.float32)
      to_table = jnp.matmul(weights.T, tokens, precision=SCORES)
      to_query = jnp.matmul(weights, table, precision=SCORES)
      return grad_query + to_query, grad_table + to_table

    start = jnp.zeros((query.shape[0], width))
    grad_query, grad_tables = lax.scan(
      per_items, start, (tables, biases, grad_tables)
    )
    return grad_tables, grad_query

  grad_tables, grad_query = lax.scan(
    per_tokens,
    jnp.zeros(tables.shape),
    tuple(split(x, count) for x in (query_TD, lse_T, grad_T)),
  )
  return (
    join(grad_query, num_tokens).astype(query_TD.dtype),
    grad_tables.reshape(-1, width).astype(table_VD.dtype),
    jnp.zeros_like(bias_V),
  )


_log_sum_exp.defvjp(_forward, _backward)
