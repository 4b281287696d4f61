# SPDX-License-Identifier: Apache-2.0
"""The forward kernel: blocks of keys add up into a block of queries.

    out_i = weight_i * sum over key blocks of h (1 + tanh h) v,
    h = q k + bias / 2     (q comes multiplied by scale / 2)

Rows are queries, lanes are keys. There is no running maximum and no rescaling;
blocks that no query sees are neither computed nor fetched.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from genrec_jax.ops.attention_flops import attention_flops
from genrec_jax.ops.silu_attention.block_sizes import BlockSizes
from genrec_jax.ops.silu_attention.tpu_bias import (
  LANES,
  PLACE,
  BiasKind,
  Places,
  add,
  fill_far,
  place_bias,
  place_step,
  position_bias,
  product,
  rotations,
  time_bias,
)


def _kernel(
  low,
  high,
  bounds_q,
  bounds_k,
  q,
  k,
  v,
  facts_q,
  facts_k,
  cells,
  position,
  out,
  total,
  far,
  *,
  kind,
  stripe,
  zero,
):
  row, group, block_q, block_k = (pl.program_id(n) for n in range(4))
  size_q, size_k = q.shape[2], k.shape[2]

  @pl.when(block_k == 0)
  def _():
    total[...] = jnp.zeros_like(total)

  @pl.when((block_k >= low[row, block_q]) & (block_k < high[row, block_q]))
  def _():
    queries = facts_q[0].T
    start = block_k * size_k - block_q * size_q
    places = Places.of(
      queries[:, PLACE : PLACE + 1],
      facts_k,
      (bounds_q, bounds_k),
      (
        row * pl.num_programs(2) + block_q,
        row * pl.num_programs(3) + block_k,
      ),
      place_step(stripe),
      zero,
    )
    key = lax.broadcasted_iota(jnp.int32, (stripe, size_k), 1)
    key = key + block_k * size_k
    for table in range(kind.tables):
      if kind.position and kind.placed:
        fill_far(position.at[table], places, far, kind.packed)
      elif kind.position:
        at = pl.multiple_of(start - size_q + zero, 128)
        rotated = rotations(position[table, :, pl.ds(at, size_q + size_k)])
      for first in range(0, size_q, stripe):
        rows, here = slice(first, first + stripe), range(first, first + stripe)
        facts = queries[rows]
        mask = (key >= facts[:, 1:2]) & (key < facts[:, 2:3])
        bias = None
        if kind.position and kind.placed:
          bias = place_bias(position.at[table], places, here, far, kind.packed)
        elif kind.position:
          bias = position_bias(rotated, here, size_k, size_q)
        if kind.time:
          seconds = facts[:, 0:1] - facts_k[0, 0:1]
          bias = add(bias, time_bias(seconds, cells[table], kind.packed))
        if kind.slopes and kind.placed:
          distance = jnp.abs(facts_k[0, PLACE : PLACE + 1] - places.rows[rows])
        elif kind.slopes:
          query = lax.broadcasted_iota(jnp.int32, key.shape, 0)
          distance = jnp.abs(key - query - (block_q * size_q + first))
        for head in kind.heads_of(table):
          h = product(q[0, head, rows], k[0, head], ((1,), (1,)))
          h = add(h, bias)
          if kind.slopes:
            slope = slope_of(kind, group, head)
            h = h - slope * distance.astype(jnp.float32)
          weight = h * jnp.where(mask, 1.0 + jnp.tanh(h), 0.0)
          total[head, rows] += product(
            weight.astype(v.dtype), v[0, head], ((1,), (0,))
          )

  @pl.when(block_k == pl.num_programs(3) - 1)
  def _():
    weight = lax.bitcast_convert_type(facts_q[0, 4:5], jnp.float32)
    column = jnp.broadcast_to(weight, (8, size_q)).T[:, 0:1]
    for head in range(kind.heads):
      out[0, head] = (total[head] * column).astype(out.dtype)


def slope_of(kind: BiasKind, group, head: int):
  """ALiBi's halved slope of a head of this step's group of heads."""
  slope = kind.slopes[head]
  for n in range(1, len(kind.slopes) // kind.heads):
    other = kind.slopes[n * kind.heads + head]
    slope = jnp.where(group == n, other, slope)
  return slope


def forward(kind: BiasKind, blocks: BlockSizes, zero: int, inputs) -> jax.Array:
  """Runs the kernel.

  Args:
    kind: what to compile.
    blocks: sizes that divide the padded lengths.
    zero: lane of distance 0 in the position rows.
    inputs: low, high (B, Q blocks), bounds of places of queries by stripe and
      of keys by 128, q (B, H, Q, K), k, v, facts_q (B, 8, Q), facts_k,
      cells (G, 8, 128), position (G, 8, W).

  Returns:
    (B, H, Q, A).
  """
  q, k, v, _, _, _, position = inputs[4:]
  batch, num_heads, queries, width = q.shape
  value_width = v.shape[3]
  size_q, size_k = blocks.forward_q, blocks.forward_k
  groups = num_heads // kind.heads
  grid = (batch, groups, queries // size_q, k.shape[2] // size_k)

  def near(b, i, j, low, high, *_):
    return jnp.clip(j, low[b, i], jnp.maximum(high[b, i] - 1, low[b, i]))

  def queries_at(b, g, i, j, *_):
    return b, g, i, 0

  def keys_at(b, g, i, j, *scalars):
    return b, g, near(b, i, j, *scalars), 0

  def tables_at(b, g, *_):
    return (g if kind.per_head else 0), 0, 0

  spec = pltpu.PrefetchScalarGridSpec(
    num_scalar_prefetch=4,
    grid=grid,
    in_specs=[
      pl.BlockSpec((1, kind.heads, size_q, width), queries_at),
      pl.BlockSpec((1, kind.heads, size_k, width), keys_at),
      pl.BlockSpec((1, kind.heads, size_k, value_width), keys_at),
      pl.BlockSpec((1, 8, size_q), lambda b, g, i, j, *_: (b, 0, i)),
      pl.BlockSpec(
        (1, 8, size_k),
        lambda b, g, i, j, *scalars: (b, 0, near(b, i, j, *scalars)),
      ),
      pl.BlockSpec((kind.tables, 8, 128), tables_at),
      pl.BlockSpec((kind.tables, 8, position.shape[2]), tables_at),
    ],
    out_specs=pl.BlockSpec((1, kind.heads, size_q, value_width), queries_at),
    scratch_shapes=[
      pltpu.VMEM((kind.heads, size_q, value_width), jnp.float32),
      pltpu.VMEM(
        (size_q, size_k) if kind.position and kind.placed else (8, LANES),
        jnp.float32,
      ),
    ],
  )
  pairs = batch * queries * k.shape[2] // 2
  return pl.pallas_call(
    functools.partial(
      _kernel, kind=kind, stripe=blocks.forward_stripe, zero=zero
    ),
    grid_spec=spec,
    out_shape=jax.ShapeDtypeStruct(
      (batch, num_heads, queries, value_width), v.dtype
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "parallel", "arbitrary"),
      vmem_limit_bytes=blocks.vmem_bytes,
    ),
    cost_estimate=pl.CostEstimate(
      flops=attention_flops(pairs, num_heads, width, value_width),
      transcendentals=pairs * num_heads,
      bytes_accessed=sum(x.size * x.dtype.itemsize for x in (q, k, v, q)),
    ),
    interpret=kind.interpret,
    name="silu_attention_forward",
  )(*inputs)
