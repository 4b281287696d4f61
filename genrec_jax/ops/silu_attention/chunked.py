# SPDX-License-Identifier: Apache-2.0
"""Pointwise attention in plain JAX with memory linear in length.

    out_i = weight_i * sum over key blocks of SiLU(s_ij) v_j

Nothing is normalised over keys, so blocks of keys just add up: no running
maximum, no rescaling, and the backward pass keeps only q, k, v and the tables.
Blocks that no query of a block sees are skipped. On a CPU a few rows run at a
time, because scores of a whole batch leave the cache. Queries behind a cache of
keys, such as candidates, see an interval of it and themselves: their own keys
are no blocks but one product each.

With P = SiLU(S), sigma = sigmoid(S), G = weight * dout, per block pair:

    dV += P^T G      dS = (G V^T) sigma (1 + S (1 - sigma))
    dQ += scale dS K      dK += scale dS^T Q      tables += sums of dS
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.ops.packed_rows import map_row_blocks
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention.own_key import attend_to_own, without_own
from genrec_jax.ops.silu_attention.rows import Rows
from genrec_jax.ops.visible_keys import VisibleKeys

# Queries and keys of a block; rows up to this length are one block.
BLOCK = 512
# Sizes of blocks are multiples of it, for the processor's vectors.
_STEP = 16


def chunked(
  q_BQHK: Float[Array, "B Q H K"],
  k_BMHK: Float[Array, "B M H K"],
  v_BMHA: Float[Array, "B M H A"],
  rows: Rows,
  bias: BiasTables,
  scale: float,
  block: int = BLOCK,
) -> Float[Array, "B Q H A"]:
  """Equals `reference` to rounding.

  Args:
    q_BQHK: queries.
    k_BMHK: keys.
    v_BMHA: values.
    rows: see Rows.
    bias: see BiasTables.
    scale: multiplies q k^T.
    block: queries and keys of a block at most.
  """

  behind_cache = q_BQHK.shape[1] < k_BMHK.shape[1]

  def attend(arrays):
    q, k, v, rows = arrays
    if not behind_cache:
      return _attend(scale, block, q, k, v, bias, rows)
    at_own = (_own(x, rows) for x in (k, v, rows.key_times_BM))
    own = attend_to_own(q, *at_own, rows, bias, scale)
    return own + _attend(scale, block, q, k, v, bias, without_own(rows))

  return lax.platform_dependent(
    (q_BQHK, k_BMHK, v_BMHA, rows),
    cpu=lambda x: map_row_blocks(attend, x),
    default=attend,
  )


def _own(x, rows):
  """What stands at each query's own key."""
  index = jnp.maximum(rows.visible.own_BQ, 0)
  dims = tuple(range(2, x.ndim))
  return jnp.take_along_axis(x, jnp.expand_dims(index, dims), axis=1)


class _Queries(NamedTuple):
  """Of all queries of some rows, or of a block of them."""

  q: Any
  first: Any
  end: Any
  own: Any
  weight: Any
  position: Any
  time: Any


class _Keys(NamedTuple):
  k: Any
  v: Any
  position: Any
  time: Any


def _of_rows(q, k, v, rows):
  visible = rows.visible
  queries = _Queries(
    q,
    visible.first_BQ,
    visible.end_BQ,
    visible.own_BQ,
    rows.weight_BQ,
    rows.query_positions_BQ,
    rows.query_times_BQ,
  )
  return queries, _Keys(k, v, rows.key_positions_BM, rows.key_times_BM)


def _pad(tree, size):
  """Fills the second dimension up to a multiple of size.

  Zeros do: a query of interval [0, 0) sees nothing. Only `own` takes -1.
  """

  def one(x, value):
    missing = -x.shape[1] % size
    widths = [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)
    return jnp.pad(x, widths, constant_values=value)

  fills = {"own": -1}
  return type(tree)(
    **{n: one(x, fills.get(n, 0)) for n, x in tree._asdict().items()}
  )


def _cut(tree, start, size):
  return jax.tree.map(
    lambda x: lax.dynamic_slice_in_dim(x, start, size, axis=1), tree
  )


def _size(length: int, block: int) -> int:
  """Of as few blocks as there must be, all of them nearly full."""
  if length <= block:
    return length
  count = -(-length // block)
  return min(block, -(-length // (count * _STEP)) * _STEP)


def _key_blocks(queries: _Queries, size):
  """First and end of the key blocks that these queries see."""
  there = queries.own >= 0
  largest = jnp.iinfo(jnp.int32).max
  first = jnp.min(jnp.where(there, queries.first, largest))
  end = jnp.max(jnp.maximum(queries.end, queries.own + 1))
  return first // size, (end + size - 1) // size


def _scores(queries, keys, bias, scale, aligned, starts):
  """Scores (b, H, i, j) in float32, mask (b, 1, i, j), and the tables' pull.

  starts: index of the first query and of the first key.
  """
  scores = jnp.einsum(
    "bihk,bjhk->bhij",
    queries.q,
    keys.k,
    preferred_element_type=jnp.float32,
  )
  scores = scores * scale
  index_j = starts[1] + jnp.arange(keys.k.shape[1])
  index_i = starts[0] + jnp.arange(queries.q.shape[1])
  if aligned:
    offset = index_j[None, :] - index_i[:, None]
  else:
    offset = keys.position[:, None, :] - queries.position[:, :, None]
  seconds = queries.time[:, :, None] - keys.time[:, None, :]
  added, pull = jax.vjp(lambda b: b.of_pairs(offset, seconds), bias)
  if added is not None:
    scores = scores + added
  visible = VisibleKeys(queries.first, queries.end, queries.own)
  mask = visible.mask(keys.k.shape[1], starts[1])[:, None]

  def to_tables(grad):
    if added is None:
      return jax.tree.map(jnp.zeros_like, bias)
    kept = [n for n in (0, 1) if added.shape[n] == 1]
    return pull(jnp.sum(grad, kept, keepdims=True).astype(added.dtype))[0]

  return scores, mask, to_tables


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(scale, block, q, k, v, bias, rows):
  queries, keys = _of_rows(q, k, v, rows)
  size_q, size_k = _size(q.shape[1], block), _size(k.shape[1], block)
  queries_p, keys_p = _pad(queries, size_q), _pad(keys, size_k)

  def one_block(start):
    some = _cut(queries_p, start, size_q)

    def add(j, total):
      near = _cut(keys_p, j * size_k, size_k)
      scores, mask, _ = _scores(
        some, near, bias, scale, rows.aligned, (start, j * size_k)
      )
      p = jnp.where(mask, jax.nn.silu(scores), 0).astype(v.dtype)
      return total + jnp.einsum(
        "bhij,bjha->biha", p, near.v, preferred_element_type=jnp.float32
      )

    total = jnp.zeros((*some.q.shape[:3], v.shape[-1]), jnp.float32)
    total = _loop(_key_blocks(some, size_k), keys_p, size_k, add, total)
    return (total * some.weight[:, :, None, None]).astype(v.dtype)

  count = queries_p.q.shape[1] // size_q
  if count == 1:
    return one_block(0)[:, : q.shape[1]]
  out = lax.map(one_block, size_q * jnp.arange(count))
  return _flat(out)[:, : q.shape[1]]


def _loop(bounds, keys, size, body, carry):
  """body(j, carry) over blocks of keys; no loop where there is one block."""
  if keys.k.shape[1] == size:
    return body(0, carry)
  return lax.fori_loop(*bounds, body, carry)


def _flat(x):
  """(blocks, b, size, ...) -> (b, blocks * size, ...)."""
  x = jnp.moveaxis(x, 0, 1)
  return x.reshape(x.shape[0], -1, *x.shape[3:])


def _attend_fwd(scale, block, q, k, v, bias, rows):
  return _attend(scale, block, q, k, v, bias, rows), (q, k, v, bias, rows)


def _attend_bwd(scale, block, residuals, grad):
  q, k, v, bias, rows = residuals
  queries, keys = _of_rows(q, k, v, rows)
  size_q, size_k = _size(q.shape[1], block), _size(k.shape[1], block)
  queries_p, keys_p = _pad(queries, size_q), _pad(keys, size_k)
  missing = queries_p.q.shape[1] - q.shape[1]
  grad_p = jnp.pad(grad, [(0, 0), (0, missing), (0, 0), (0, 0)])

  def one_block(sums, start):
    some = _cut(queries_p, start, size_q)
    weight = some.weight[:, :, None, None]
    g = lax.dynamic_slice_in_dim(grad_p, start, size_q, axis=1)
    g = (g * weight).astype(v.dtype)

    def add(j, carry):
      dq, dk, dv, dbias = carry
      at = j * size_k
      near = _cut(keys_p, at, size_k)
      ds, p, to_tables = _block_gradients(
        some, near, g, bias, scale, rows.aligned, (start, at)
      )
      low = ds.astype(q.dtype)
      dq = dq + _product("bhij,bjhk->bihk", low, near.k)
      dk = _add_at(dk, _product("bhij,bihk->bjhk", low, some.q), at)
      dv = _add_at(dv, _product("bhij,biha->bjha", p, g), at)
      return dq, dk, dv, jax.tree.map(jnp.add, dbias, to_tables(ds))

    dq = jnp.zeros(some.q.shape, jnp.float32)
    bounds = _key_blocks(some, size_k)
    dq, *sums = _loop(bounds, keys_p, size_k, add, (dq, *sums))
    return tuple(sums), (dq * scale).astype(q.dtype)

  sums = (
    jnp.zeros(keys_p.k.shape, jnp.float32),
    jnp.zeros(keys_p.v.shape, jnp.float32),
    jax.tree.map(jnp.zeros_like, bias),
  )
  count = queries_p.q.shape[1] // size_q
  if count == 1:
    (dk, dv, dbias), dq = one_block(sums, 0)
  else:
    (dk, dv, dbias), dq = lax.scan(one_block, sums, size_q * jnp.arange(count))
    dq = _flat(dq)
  dk = (dk * scale)[:, : k.shape[1]].astype(k.dtype)
  dv = dv[:, : v.shape[1]].astype(v.dtype)
  return dq[:, : q.shape[1]], dk, dv, dbias, None


def _product(spec, x, y):
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


def _add_at(total, part, start):
  if total.shape == part.shape:
    return total + part
  old = lax.dynamic_slice_in_dim(total, start, part.shape[1], axis=1)
  return lax.dynamic_update_slice_in_dim(total, old + part, start, axis=1)


def _block_gradients(queries, keys, g, bias, scale, aligned, starts):
  """dS in float32, P in the values' dtype, and dS -> gradients of tables."""
  scores, mask, to_tables = _scores(queries, keys, bias, scale, aligned, starts)
  sigma = jax.nn.sigmoid(scores)
  p = jnp.where(mask, scores * sigma, 0).astype(keys.v.dtype)
  dp = _product("biha,bjha->bhij", g, keys.v)
  ds = dp * sigma * (1 + scores * (1 - sigma))
  return jnp.where(mask, ds, 0), p, to_tables


_attend.defvjp(_attend_fwd, _attend_bwd)
