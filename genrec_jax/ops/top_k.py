# SPDX-License-Identifier: Apache-2.0
"""Exact top-k of query-item scores, whole, in item blocks, or over devices.

    scores_BN = query_BD @ items_ND^T        float32 (ops/precision.py)

The order is one rule everywhere: score descending, then lower item index. A
score of NaN counts as -inf, and an item scored -inf (masked, or invalid) is
never returned: its place holds id 0 and score -inf. Blocks and device shards
are visited in index order and earlier candidates stand first in every merge,
which is what keeps the tie order equal to that of the plain top-k.

Cost: 2 B N D operations; (B, block) scores at a time, not (B, N).
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, UInt32

from genrec_jax.ops.precision import SCORES

_BITS = 32


def top_k(
  scores_BN: Float[Array, "B N"], k: int
) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
  """Returns the columns (int32) and scores of the k best, best first.

  k may exceed N. The columns of places scored -inf mean nothing.
  """
  missing = max(k - scores_BN.shape[1], 0)
  scores_BN = jnp.pad(
    _ordered(scores_BN), ((0, 0), (0, missing)), constant_values=-jnp.inf
  )
  scores_BK, columns_BK = jax.lax.top_k(scores_BN, k)
  return columns_BK.astype(jnp.int32), scores_BK


def merge_top_k(
  ids_BN: Int[Array, "B N"], scores_BN: Float[Array, "B N"], k: int
) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
  """Returns the k best of candidates whose ties stand in order of their id."""
  columns_BK, scores_BK = top_k(scores_BN, k)
  columns_BK = jnp.minimum(columns_BK, ids_BN.shape[1] - 1)
  ids_BK = jnp.take_along_axis(ids_BN, columns_BK, axis=1)
  return jnp.where(scores_BK == -jnp.inf, 0, ids_BK), scores_BK


def blockwise_top_k(
  query_BD: Float[Array, "B D"],
  items_ND: Float[Array, "N D"],
  k: int,
  *,
  num_valid: int,
  block: int,
  first_id: int | Int[Array, ""] = 0,
  allowed_BW: UInt32[Array, "B W"] | None = None,
) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
  """Returns ids (int32) and scores of the k best items, `block` at a time.

  Row n of items_ND is item first_id + n; ids 0 (pad) and num_valid and above
  (rows that fill the table up) are never returned. Of allowed_BW, bit i of word
  w is whether row 32 w + i may be (None: all may).
  """
  num_rows = items_ND.shape[0]
  block = min(block, num_rows)

  def step(best, index):
    scores_Bn, start = block_scores(
      query_BD,
      items_ND,
      index,
      block=block,
      num_valid=num_valid,
      first_id=first_id,
      allowed_BW=allowed_BW,
    )
    columns_BK, scores_BK = top_k(scores_Bn, k)
    ids_BK = first_id + start + columns_BK
    return merge_top_k(
      jnp.concatenate([best[0], ids_BK], axis=1),
      jnp.concatenate([best[1], scores_BK], axis=1),
      k,
    ), None

  batch = query_BD.shape[0]
  best = (
    jnp.zeros((batch, k), jnp.int32),
    jnp.full((batch, k), -jnp.inf, jnp.float32),
  )
  if num_rows == block:
    return step(best, jnp.int32(0))[0]
  indices = jnp.arange(-(-num_rows // block), dtype=jnp.int32)
  return jax.lax.scan(step, best, indices)[0]


def block_scores(
  query_BD: Float[Array, "B D"],
  items_ND: Float[Array, "N D"],
  index: int | Int[Array, ""],
  *,
  block: int,
  num_valid: int,
  first_id: int | Int[Array, ""] = 0,
  allowed_BW: UInt32[Array, "B W"] | None = None,
) -> tuple[Float[Array, "B n"], Int[Array, ""]]:
  """Scores of block `index` of the items, and the row that it starts at.

  The last block may reach back into the one before it. What stands there, what
  is not allowed and no item is -inf; so is NaN, and -0.0 is 0.0, which it ties
  with. Arguments as in blockwise_top_k; block may not exceed N.
  """
  num_rows = items_ND.shape[0]
  start = jnp.minimum(index * block, num_rows - block)
  items_nD = jax.lax.dynamic_slice_in_dim(items_ND, start, block)
  scores_Bn = jnp.einsum(
    "BD,nD->Bn", query_BD, items_nD, precision=SCORES
  ).astype(jnp.float32)
  ids_n = first_id + start + jnp.arange(block, dtype=jnp.int32)
  new_n = ids_n >= first_id + index * block
  keep_Bn = (new_n & (ids_n > 0) & (ids_n < num_valid))[None]
  if allowed_BW is not None:
    # A slice that reached beyond the end would be moved, not cut.
    words_BW = jnp.pad(allowed_BW, ((0, 0), (0, 2)))
    keep_Bn = keep_Bn & _bits(words_BW, start, block)
  return _ordered(jnp.where(keep_Bn, scores_Bn, -jnp.inf)), start


def _ordered(scores: Float[Array, "..."]) -> Float[Array, "..."]:
  """NaN as -inf, and no -0.0, which lax.top_k places below 0.0."""
  scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
  return jnp.where(scores == 0, 0.0, scores)


def _bits(
  words_BW: UInt32[Array, "B W"], start: Int[Array, ""], count: int
) -> Bool[Array, "B {count}"]:
  """Bits start to start + count; reads a word more than may hold them."""
  first = start // _BITS
  words_Bw = jax.lax.dynamic_slice_in_dim(
    words_BW, first, count // _BITS + 2, axis=1
  )
  shift_b = jnp.arange(_BITS, dtype=jnp.uint32)
  bits_Bwb = (words_Bw[:, :, None] >> shift_b[None, None, :]) & jnp.uint32(1)
  bits_Bn = bits_Bwb.reshape(words_BW.shape[0], -1) > 0
  return jax.lax.dynamic_slice_in_dim(
    bits_Bn, start - first * _BITS, count, axis=1
  )


@functools.partial(jax.jit, static_argnames=("k", "num_valid", "block", "mesh"))
def sharded_top_k(
  query_BD: Float[Array, "B D"],
  items_ND: Float[Array, "N D"],
  allowed_BW: UInt32[Array, "B W"] | None,
  *,
  k: int,
  num_valid: int,
  block: int,
  mesh: Mesh,
) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
  """blockwise_top_k with item rows split over all axes of `mesh`.

  So is allowed_BW: each device's words begin with its own first row.

  Each device finds its own k best; the (devices * k) candidates are gathered
  in device order and merged, on every device.
  """
  axis = mesh.axis_names
  rows = items_ND.shape[0] // mesh.size

  def local(query_BD, items_nD, allowed_Bw):
    ids_BK, scores_BK = blockwise_top_k(
      query_BD,
      items_nD,
      k,
      num_valid=num_valid,
      block=block,
      first_id=jax.lax.axis_index(axis) * rows,
      allowed_BW=allowed_Bw,
    )
    gather = functools.partial(
      jax.lax.all_gather, axis_name=axis, axis=1, tiled=True
    )
    return merge_top_k(gather(ids_BK), gather(scores_BK), k)

  return jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(P(), P(axis), P(None, axis)),
    out_specs=(P(), P()),
    # The merge is computed alike on every device, which shard_map cannot see.
    check_vma=False,
  )(query_BD, items_ND, allowed_BW)
