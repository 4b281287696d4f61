# SPDX-License-Identifier: Apache-2.0
"""Pointwise attention with both relative biases as fused TPU kernels.

Wraps tpu_forward.py and tpu_backward.py: pads and lays out the arrays, finds
the blocks to compute, and turns the kernels' sums into gradients of the
tables. Kernels compute what queries see of their intervals; a query's own key
outside of it comes beside them (own_key.py). What they rely on, beyond what
`reference` takes:

- with a position table or ALiBi: a position lies within its segment, from 0 to
  the number of its tokens - 1. Else its row is NaN. Where roles or limits are
  given it need not be its token's number;
- for the gradient of a time table, without roles and limits: within a segment
  key times and query times never decrease, and no query asks about a time
  before a key that it sees. Else the gradient of the time table is NaN. With
  roles or limits times may be any: queries are brought in their order first.

Both are checked on the device, so that what breaks them is never a wrong
number; everything else is right for any times.
"""

import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import tpu_tables
from genrec_jax.ops.silu_attention.block_sizes import (
  BlockSizes,
  default_block_sizes,
  plan,
)
from genrec_jax.ops.silu_attention.own_key import attend_to_own
from genrec_jax.ops.silu_attention.rows import Rows, rows_at
from genrec_jax.ops.silu_attention.time_order import ahead, by_time, in_order
from genrec_jax.ops.silu_attention.tpu_backward import backward
from genrec_jax.ops.silu_attention.tpu_bias import (
  LANES,
  BiasKind,
  place_step,
)
from genrec_jax.ops.silu_attention.tpu_forward import forward
from genrec_jax.ops.time_buckets import bucket_cells, bucket_thresholds


def unsupported(bias: BiasTables) -> str:
  """Why the kernels cannot use these tables; '' if they can."""
  if bias.time is None:
    return ""
  if _reachable(bias) > LANES:
    return f"more than {LANES} time buckets"
  if bucket_cells(bias.bucket_width).mantissa_bits != 2:
    return f"time buckets narrower than .2232 (got {bias.bucket_width})"
  return ""


def _reachable(bias: BiasTables) -> int:
  thresholds = bucket_thresholds(bias.bucket_width)
  return min(bias.time.shape[-1], len(thresholds) + 1)


def pallas_tpu(
  q_BLHK: Float[Array, "B L H K"],
  k_BLHK: Float[Array, "B L H K"],
  v_BLHA: Float[Array, "B L H A"],
  rows: Rows,
  bias: BiasTables,
  scale: float,
  blocks: BlockSizes | None = None,
  interpret: bool = False,
) -> Float[Array, "B L H A"]:
  """Equals `reference` to rounding, on a TPU.

  Args:
    q_BLHK: queries, one per key.
    k_BLHK: keys.
    v_BLHA: values.
    rows: see Rows.
    bias: see BiasTables.
    scale: multiplies q k^T.
    blocks: sizes; None takes the chip's.
    interpret: run the kernels' code on any device, slowly.

  Raises:
    ValueError: what the kernels do not compute, or do not have the VMEM for.
  """
  reason = unsupported(bias)
  if reason:
    raise ValueError(f"implementation='pallas_tpu' does not take {reason}.")
  blocks, padded, heads = plan_for(q_BLHK, v_BLHA, bias, blocks, rows.aligned)
  per_head = any(
    table is not None and table.ndim == 2
    for table in (bias.position, bias.time)
  )
  kind = BiasKind(
    heads=heads,
    per_head=per_head,
    position=bias.position is not None,
    time=bias.time is not None,
    packed=q_BLHK.dtype == jnp.bfloat16,
    placed=not rows.aligned,
    slopes=tuple(s / 2 for s in bias.slopes or ()),
    interpret=interpret,
  )
  vectors = q_BLHK, k_BLHK, v_BLHA
  out_BLHA = _fused(kind, blocks, padded, scale, *vectors, bias, rows)
  if rows.aligned:
    return out_BLHA
  own = *vectors, rows.key_times_BM
  return out_BLHA + attend_to_own(*own, rows, bias, scale)


def plan_for(
  q_BLHK: Float[Array, "B L H K"],
  v_BLHA: Float[Array, "B L H A"],
  bias: BiasTables,
  blocks: BlockSizes | None,
  aligned: bool,
) -> tuple[BlockSizes, int, int]:
  """How to cut arrays of these shapes; see block_sizes.plan and Rows.aligned.

  Raises:
    ValueError: nothing fits.
  """
  length, num_heads, width = q_BLHK.shape[1:]
  given = default_block_sizes(device_kind()) if blocks is None else blocks
  widths = width, v_BLHA.shape[3]
  return plan(
    given,
    length,
    num_heads,
    widths,
    q_BLHK.dtype.itemsize,
    shrink=blocks is None,
    placed=bias.position is not None and not aligned,
  )


def device_kind() -> str:
  """Of the mesh in force, else of this process's devices."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.devices()[0].device_kind if device is None else device.device_kind


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _fused(kind, blocks, padded, scale, q, k, v, bias, rows):
  facts = _Facts.of(kind, padded, bias, rows)
  step = place_step(blocks.forward_stripe)
  inputs = (
    *facts.bounds(blocks.forward_q, blocks.forward_k)[:2],
    facts.place_bounds(facts.query_places, step),
    facts.place_bounds(facts.key_places, LANES),
    _by_head(q * np.asarray(scale / 2, q.dtype), padded),
    _by_head(k, padded),
    _by_head(v, padded),
    facts.queries(),
    facts.keys(),
    facts.cells(),
    facts.positions(flip=False),
  )
  out = forward(kind, blocks, padded, inputs)
  return _by_place(out)[:, : q.shape[1]]


def _fused_fwd(kind, blocks, padded, scale, q, k, v, bias, rows):
  out = _fused(kind, blocks, padded, scale, q, k, v, bias, rows)
  return out, (q, k, v, bias, rows)


def _fused_bwd(kind, blocks, padded, scale, residuals, grad):
  q, k, v, bias, rows = residuals
  length = q.shape[1]
  sides = jnp.zeros((1,), bool)
  if kind.placed and kind.time:
    order = by_time(rows)
    rows = rows.in_order(order)
    q, grad = rows_at(q, order), rows_at(grad, order)
    sides = ahead(rows)
  facts = _Facts.of(kind, padded, bias, rows)
  weight = facts.weight[:, :length, None, None]
  g = (grad.astype(jnp.float32) * weight).astype(v.dtype)
  keys = _by_head(k, padded)
  triangle = jnp.triu(jnp.ones((LANES, LANES), _triangle_dtype(q.dtype)))
  num_buckets = 1 if bias.time is None else bias.time.shape[-1]
  inputs = (
    *facts.bounds(blocks.backward_q, blocks.backward_k)[2:],
    facts.place_bounds(facts.key_places, place_step(blocks.backward_stripe)),
    facts.place_bounds(facts.query_places, LANES),
    sides.astype(jnp.int32),
    _by_head(q * np.asarray(scale / 2, q.dtype), padded),
    keys,
    _by_head(v, padded),
    _by_head(g, padded),
    jnp.swapaxes(keys, 2, 3),
    facts.queries(),
    facts.keys(),
    facts.cells(),
    facts.positions(flip=True),
    jnp.asarray(tpu_tables.bucket_ends(bias.bucket_width, num_buckets)),
    triangle,
    tpu_tables.interleaved_times(facts.query_times, blocks.backward_q),
  )
  dq_t, dk, dv, dcells, dposition = backward(kind, blocks, padded, inputs)
  dq = jnp.swapaxes(dq_t, 2, 3) * np.asarray(scale / 2, q.dtype)
  dq, dk, dv = (_by_place(x)[:, :length] for x in (dq, dk, dv))
  if kind.placed and kind.time:
    dq = rows_at(dq, jnp.argsort(order, axis=1))
  dbias = jax.tree.map(jnp.zeros_like, bias)
  num_heads = q.shape[2]
  if kind.time:
    sums = _sum_rows(dcells, kind.per_head, bias.time, num_heads)
    table = 0.5 * tpu_tables.bucket_sums_to_table(sums, num_buckets)
    if not kind.placed:
      table = jnp.where(jnp.all(in_order(rows)), table, jnp.nan)
    table = table.reshape(bias.time.shape).astype(bias.time.dtype)
    dbias = dataclasses.replace(dbias, time=table)
  if kind.position:
    _, pull = jax.vjp(
      lambda table: tpu_tables.position_rows(
        table, dposition.shape[3], padded, True
      ),
      bias.position,
    )
    sums = _sum_rows(dposition, kind.per_head, bias.position, num_heads)
    dbias = dataclasses.replace(dbias, position=pull(sums)[0])
  return dq, dk, dv, dbias, None


_fused.defvjp(_fused_fwd, _fused_bwd)


def _triangle_dtype(dtype):
  return jnp.bfloat16 if dtype == jnp.bfloat16 else jnp.float32


def _sum_rows(sums, per_head, table, num_heads):
  """(B * groups, tables, 8, W) -> (1 or H, 8, W), as the table is."""
  if not per_head:
    return jnp.sum(sums, axis=(0, 1))[None]
  total = jnp.sum(sums.reshape(-1, num_heads, *sums.shape[2:]), axis=0)
  return total if table.ndim == 2 else jnp.sum(total, axis=0, keepdims=True)


def _by_head(x, length):
  """(B, L, H, K) -> (B, H, length, K), zeros behind."""
  missing = length - x.shape[1]
  padded = jnp.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0)])
  return jnp.swapaxes(padded, 1, 2)


def _by_place(x):
  """(B, H, L, K) -> (B, L, H, K)."""
  # Fused with its neighbours, the transpose compiles to 6 times the bundles.
  return jnp.swapaxes(lax.optimization_barrier(x), 1, 2)


@dataclasses.dataclass(frozen=True)
class _Facts:
  """Rows, padded to the kernel's length, and its tables."""

  kind: BiasKind
  bias: BiasTables
  first: jax.Array
  end: jax.Array
  weight: jax.Array
  query_times: jax.Array
  key_times: jax.Array
  query_places: jax.Array
  key_places: jax.Array
  segments: jax.Array

  @classmethod
  def of(cls, kind, length, bias, rows: Rows) -> "_Facts":
    missing = length - rows.segments_BM.shape[1]

    def pad(x):
      return jnp.pad(x, [(0, 0), (0, missing)])

    segments, weight = pad(rows.segments_BM), pad(rows.weight_BQ)
    query_places = key_places = jnp.zeros_like(segments)
    if kind.placed and (kind.position or kind.slopes):
      places = (
        _places(segments, pad(x))
        for x in (rows.query_positions_BQ, rows.key_positions_BM)
      )
      (query_places, good_q), (key_places, good_k) = places
      weight = jnp.where((good_q & good_k)[:, None], weight, jnp.nan)
    return cls(
      kind=kind,
      bias=bias,
      first=pad(rows.visible.first_BQ),
      end=pad(rows.visible.end_BQ),
      weight=weight,
      query_times=pad(rows.query_times_BQ),
      key_times=pad(rows.key_times_BM),
      query_places=query_places,
      key_places=key_places,
      segments=segments,
    )

  def queries(self):
    return tpu_tables.stack_facts(
      self.query_times, self.first, self.end, self.query_places, self.weight
    )

  def keys(self):
    start, end = tpu_tables.segment_bounds(self.segments)
    return tpu_tables.stack_facts(self.key_times, start, end, self.key_places)

  def bounds(self, size_q, size_k):
    return tpu_tables.block_bounds(
      self.first, self.end, size_q, size_k, self.segments.shape[1]
    )

  def place_bounds(self, places, size):
    if not self.kind.placed:
      return jnp.zeros((2,), jnp.int32)
    return tpu_tables.place_bounds(places, size)

  def cells(self):
    count = self._tables()
    if not self.kind.time:
      return jnp.zeros((count, 8, LANES), jnp.float32)
    cells = tpu_tables.time_cells(
      self.bias.time, self.bias.bucket_width, self.kind.packed
    )
    return jnp.broadcast_to(cells, (count, *cells.shape[1:]))

  def positions(self, flip):
    count, length = self._tables(), self.segments.shape[1]
    if not self.kind.position:
      return jnp.zeros((count, 8, LANES), jnp.float32)
    table = self.bias.position
    if self.kind.placed:
      size = 2 * length + LANES
      rows = tpu_tables.place_rows(table, size, length, flip, self.kind.packed)
    else:
      rows = tpu_tables.position_rows(table, 2 * length, length, flip)
    return jnp.broadcast_to(rows, (count, *rows.shape[1:]))

  def _tables(self):
    tables = (self.bias.position, self.bias.time)
    return max(
      [1] + [x.shape[0] for x in tables if x is not None and x.ndim == 2]
    )


def _places(segments, positions):
  """Where positions would stand if they counted, and rows where all can."""
  start, end = tpu_tables.segment_bounds(segments)
  index = lax.broadcasted_iota(jnp.int32, segments.shape, 1)
  place = start + positions
  good = (place >= start) & (place < end) | (segments == 0)
  # What breaks the rule must not be read beyond the table either.
  place = jnp.where(good & (segments > 0), place, index)
  return place, jnp.all(good, axis=1)
