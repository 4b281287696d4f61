# SPDX-License-Identifier: Apache-2.0
"""The backward kernel: all gradients in one pass over blocks of pairs.

With rows = keys and lanes = queries, a = 1 + tanh h, P = h a, g = weight dout:

    dV += P g      dS = (V g^T) a (1 + h (1 - tanh h))
    dK += dS q     dQ^T += K^T dS

No product needs a transposed tile of pairs. dQ of a whole row stays in VMEM
until the last block of keys. dS is summed over the heads that share tables:

- a distance is a diagonal: rows of 8 rotate into place and add up. Where it is
  one of places, products with zeros and ones sum dS over the pairs of equal
  places first, for 128 places of queries and of keys at a time;
- a time bucket is, along a row, a run of lanes, because times are sorted: the
  sum over buckets <= b is a prefix sum (a product with a triangle of ones) at
  the lane where bucket b ends, and a search of 7 steps finds the lane. Where
  queries see later keys, what lies as far before a key is found alike.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp
import numpy as np

from genrec_jax.ops.attention_flops import attention_backward_flops
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
  take,
  time_bias,
)
from genrec_jax.ops.silu_attention.tpu_forward import slope_of

_INT32 = np.iinfo(np.int32)


def _diagonal_sums(sums, size_k, size_q):
  """(keys, queries) -> (8, W): row s, lane y: sum over rows r = s mod 8 of
  lane y - size_k + r - s; see tpu_tables.position_rows."""
  width = size_q + size_k
  total = jnp.zeros((8, width), jnp.float32)
  for c in range(min(16, size_k // 8)):
    wide = None
    for b in range(size_k // LANES):
      at = size_k - LANES * b
      piece = sums[LANES * b + 8 * c : LANES * b + 8 * c + 8]
      parts = [jnp.zeros((8, at), jnp.float32), piece]
      if width - at - size_q:
        parts.append(jnp.zeros((8, width - at - size_q), jnp.float32))
      wide = add(wide, jnp.concatenate(parts, axis=1))
    total = total + (pltpu.roll(wide, width - 8 * c, 1) if c else wide)
  return total


def _place_sums(dposition, sums, places_k, places, dtype):
  """Adds (keys, queries) to (8, W), by the distances of their places.

  For 128 places of keys at a time: rows of equal places add up, then lanes,
  a tile into 256 places; what has been a tile of places is one of distances.

  Args:
    dposition: reference of (8, W).
    sums: reference of dS, zero where a key is not seen.
    places_k: (1, keys).
    places: of the block: keys are its rows, queries its lanes.
    dtype: of the products.
  """
  size_k, size_q = sums.shape
  steps, tiles = range(size_k // places.step), range(size_q // LANES)
  low, high = zip(*map(places.row_bounds, steps), strict=True)
  first = functools.reduce(jnp.minimum, low) // LANES
  end = functools.reduce(jnp.maximum, high) // LANES + 1
  starts, follow = zip(*map(places.lane_windows, tiles), strict=True)

  def equal(places, first, count):
    shape = count, places.shape[1]
    place = first + lax.broadcasted_iota(jnp.int32, shape, 0)
    return jnp.where(place == places, 1.0, 0.0).astype(dtype)

  def query_ones(tile, query):
    return equal(places.lane_places(tile), query, 2 * LANES)

  nearest = [query_ones(tile, starts[tile]) for tile in tiles]
  ds = sums[...].astype(dtype)

  def of_keys(window, carry):
    key = LANES * window
    rows = product(equal(places_k, key, LANES), ds, ((1,), (0,))).astype(dtype)

    def add_tile(tile, query, ones):
      part = rows[:, LANES * tile : LANES * (tile + 1)]
      part = product(part, ones, ((1,), (1,)))
      at = pl.multiple_of(query - key - LANES + places.zero, LANES)
      at = slice(None), pl.ds(at, 3 * LANES)
      dposition[at] += _diagonal_sums(part, LANES, 2 * LANES)

    for tile in tiles:
      add_tile(tile, starts[tile], nearest[tile])

    @pl.when(functools.reduce(jnp.maximum, follow) > 0)
    def _():
      for tile in tiles:

        def far(n, carry, tile=tile):
          query = starts[tile] + 2 * LANES * n
          add_tile(tile, query, query_ones(tile, query))
          return carry

        lax.fori_loop(1, follow[tile] + 1, far, 0)

    return carry

  lax.fori_loop(first, end, of_keys, 0)


def _bucket_sums(sums, keys, times, ends, triangle, first_query, before):
  """(keys, queries) -> (8, 128): sums over buckets <= lane, rows to be added.

  Of all queries up to the end of each bucket, or (`before`) of those that lie
  so far before their key that no bucket up to this one holds them.

  Args:
    sums: dS, zero where a key is not seen.
    keys: facts of keys as columns: time, first and end query of the segment.
    times: query times of the block, interleaved.
    ends: first time difference past each bucket.
    triangle: (128, 128), ones on and above the diagonal.
    first_query: index of the block's first query.
    before: whether it is the latter; None = never.
  """
  tiles = sums.shape[1] // LANES
  shape = (8, LANES)
  lanes = lax.broadcasted_iota(jnp.int32, shape, 1)
  ends = jnp.broadcast_to(ends[0:1], shape)
  prefix = [
    product(
      sums[:, LANES * c : LANES * (c + 1)].astype(triangle.dtype),
      triangle,
      ((1,), (0,)),
    )
    for c in range(tiles)
  ]
  total = jnp.zeros(shape, jnp.float32)
  for row in range(0, sums.shape[0], 8):
    rows = slice(row, row + 8)
    time = keys[rows, 0:1]
    limit = time + ends
    limit = jnp.where(limit < time, _INT32.max, limit)
    if before is not None:
      early = time - ends + 1
      early = jnp.where(early > time, _INT32.min, early)
      limit = jnp.where(before, early, limit)
    segment = keys[rows, 1:2] - first_query, keys[rows, 2:3] - first_query
    sorted_times = []
    for r in range(tiles):
      # Other segments of the row: their dS is 0, their order must not matter.
      query = lanes * tiles + r
      after = jnp.where(
        query < segment[1],
        jnp.broadcast_to(times[r : r + 1], shape),
        _INT32.max,
      )
      sorted_times.append(jnp.where(query < segment[0], _INT32.min, after))
    place = jnp.zeros(shape, jnp.int32)
    for step in (64, 32, 16, 8, 4, 2, 1):
      probe = take(sorted_times[-1], place + (step - 1))
      place = jnp.where(probe < limit, place + step, place)
    count = place * tiles
    for r in range(tiles):
      earlier = take(sorted_times[r], place) < limit
      count = count + jnp.where(earlier, 1, 0)
    last = count - 1
    tile, lane = last >> 7, last & (LANES - 1)
    value, carry = jnp.zeros(shape, jnp.float32), jnp.zeros((8, 1), jnp.float32)
    for c in range(tiles):
      here = prefix[c][rows]
      value = jnp.where(tile == c, take(here, lane) + carry, value)
      carry = carry + here[:, LANES - 1 : LANES]
    total = total + value
  return total


def _kernel(
  low,
  high,
  bounds_k,
  bounds_q,
  ahead,
  q,
  k,
  v,
  g,
  k_t,
  facts_q,
  facts_k,
  cells,
  position,
  ends,
  triangle,
  times,
  dq,
  dk,
  dv,
  dcells,
  dposition,
  dq_sum,
  dk_sum,
  dv_sum,
  ds_sum,
  *,
  kind,
  stripe,
  zero,
):
  row, group, block_k, block_q = (pl.program_id(n) for n in range(4))
  size_q, size_k = q.shape[2], k.shape[2]
  strip = pl.ds(
    pl.multiple_of(block_q * size_q - block_k * size_k - size_k + zero, 128),
    size_q + size_k,
  )

  @pl.when(block_k == 0)
  def _():
    dq_sum[block_q] = jnp.zeros(dq_sum.shape[1:], jnp.float32)

  @pl.when(block_q == 0)
  def _():
    dk_sum[...] = jnp.zeros_like(dk_sum)
    dv_sum[...] = jnp.zeros_like(dv_sum)

  @pl.when((block_q == 0) & (block_k == 0))
  def _():
    dcells[...] = jnp.zeros_like(dcells)
    dposition[...] = jnp.zeros_like(dposition)

  @pl.when((block_q >= low[row, block_k]) & (block_q < high[row, block_k]))
  def _():
    keys, queries = facts_k[0].T, facts_q[0]
    places = Places.of(
      keys[:, PLACE : PLACE + 1],
      facts_q,
      (bounds_k, bounds_q),
      (
        row * pl.num_programs(2) + block_k,
        row * pl.num_programs(3) + block_q,
      ),
      place_step(stripe),
      zero,
    )
    for table in range(kind.tables):
      if kind.position and kind.placed:
        # dS takes the place of biases, stripe by stripe.
        fill_far(position.at[table], places, ds_sum, kind.packed)
      elif kind.position:
        rotated = rotations(position[table, :, strip])
      for first in range(0, size_k, stripe):
        rows, here = slice(first, first + stripe), range(first, first + stripe)
        shape = (stripe, size_q)
        key = lax.broadcasted_iota(jnp.int32, shape, 0)
        key = key + (block_k * size_k + first)
        mask = (key >= queries[1:2]) & (key < queries[2:3])
        bias = None
        if kind.position and kind.placed:
          bias = place_bias(
            position.at[table], places, here, ds_sum, kind.packed
          )
        elif kind.position:
          bias = position_bias(rotated, here, size_q, size_k)
        if kind.time:
          seconds = queries[0:1] - keys[rows, 0:1]
          bias = add(bias, time_bias(seconds, cells[table], kind.packed))
        if kind.slopes and kind.placed:
          distance = jnp.abs(queries[PLACE : PLACE + 1] - places.rows[rows])
        elif kind.slopes:
          query = lax.broadcasted_iota(jnp.int32, shape, 1)
          distance = jnp.abs(key - query - block_q * size_q)
        total = None
        for head in kind.heads_of(table):
          h = product(k[0, head, rows], q[0, head], ((1,), (1,)))
          h = add(h, bias)
          if kind.slopes:
            slope = slope_of(kind, group, head)
            h = h - slope * distance.astype(jnp.float32)
          dp = product(v[0, head, rows], g[0, head], ((1,), (1,)))
          tanh = jnp.tanh(h)
          a = jnp.where(mask, 1.0 + tanh, 0.0)
          p = (h * a).astype(g.dtype)
          ds = dp * (a * (1.0 + h * (1.0 - tanh)))
          total = add(total, ds)
          ds = ds.astype(q.dtype)
          dv_sum[head, rows] += product(p, g[0, head], ((1,), (0,)))
          dk_sum[head, rows] += product(ds, q[0, head], ((1,), (0,)))
          dq_sum[block_q, head] += product(
            k_t[0, head, :, rows], ds, ((1,), (0,))
          )
        if kind.position or kind.time:
          ds_sum[rows] = total
      if kind.position and kind.placed:
        _place_sums(
          dposition.at[0, table],
          ds_sum,
          facts_k[0, PLACE : PLACE + 1],
          places,
          triangle.dtype,
        )
      elif kind.position:
        dposition[0, table, :, strip] += _diagonal_sums(ds_sum, size_k, size_q)
      if kind.time:

        def side(before, carry, table=table):
          total = _bucket_sums(
            ds_sum,
            keys,
            times[0],
            ends[...],
            triangle[...],
            block_q * size_q,
            before > 0 if kind.placed else None,
          )
          dcells[0, table] += jnp.where(before > 0, -total, total)
          return carry

        if kind.placed:
          lax.fori_loop(0, 1 + ahead[row], side, 0)
        else:
          side(0, 0)

  @pl.when(block_q == pl.num_programs(3) - 1)
  def _():
    dk[0] = dk_sum[...].astype(dk.dtype)
    dv[0] = dv_sum[...].astype(dv.dtype)

  @pl.when(block_k == pl.num_programs(2) - 1)
  def _():
    dq[0] = dq_sum[block_q].astype(dq.dtype)


def backward(kind: BiasKind, blocks: BlockSizes, zero: int, inputs):
  """Runs the kernel.

  Args:
    kind: what to compile.
    blocks: sizes that divide the padded lengths.
    zero: lane of distance 0 in the position rows.
    inputs: low, high (B, K blocks), bounds of places of keys by stripe and of
      queries by 128, ahead (B,), 1 where a query of the row sees a later key,
      q (B, H, Q, K), k, v, g, k_t (B, H, K, M), facts_q, facts_k, cells,
      position (flipped), ends, triangle, times.

  Returns:
    dq_t (B, H, K, Q), dk, dv, and per row and group of heads sums of the
    tables' gradients: (B * groups, tables, 8, 128) and (..., 8, W).
  """
  q, k, v = inputs[5:8]
  position = inputs[13]
  batch, num_heads, queries, width = q.shape
  keys, value_width = v.shape[2:]
  size_q, size_k = blocks.backward_q, blocks.backward_k
  heads, groups = kind.heads, num_heads // kind.heads
  blocks_q, blocks_k = queries // size_q, keys // size_k

  distances = LANES
  if kind.position:
    distances = 2 * zero + (LANES if kind.placed else 0)

  def near(b, j, i, low, high, *_):
    return jnp.clip(i, low[b, j], jnp.maximum(high[b, j] - 1, low[b, j]))

  def queries_at(b, g, j, i, *scalars):
    return b, g, near(b, j, i, *scalars), 0

  def keys_at(b, g, j, *_):
    return b, g, j, 0

  def tables_at(b, g, *_):
    return (g if kind.per_head else 0), 0, 0

  def constant(*_):
    return 0, 0

  def sums_at(b, g, *_):
    return b * groups + g, 0, 0, 0

  def last_keys(b, g, j, i, *_):
    # Written once, in the last round: until then its block does not change.
    return b, g, 0, jnp.where(j == blocks_k - 1, i, 0)

  sums = (1, kind.tables, 8)
  spec = pltpu.PrefetchScalarGridSpec(
    num_scalar_prefetch=5,
    grid=(batch, groups, blocks_k, blocks_q),
    in_specs=[
      pl.BlockSpec((1, heads, size_q, width), queries_at),
      pl.BlockSpec((1, heads, size_k, width), keys_at),
      pl.BlockSpec((1, heads, size_k, value_width), keys_at),
      pl.BlockSpec((1, heads, size_q, value_width), queries_at),
      pl.BlockSpec((1, heads, width, size_k), lambda b, g, j, *_: (b, g, 0, j)),
      pl.BlockSpec(
        (1, 8, size_q),
        lambda b, g, j, i, *scalars: (b, 0, near(b, j, i, *scalars)),
      ),
      pl.BlockSpec((1, 8, size_k), lambda b, g, j, *_: (b, 0, j)),
      pl.BlockSpec((kind.tables, 8, LANES), tables_at),
      pl.BlockSpec((kind.tables, 8, position.shape[2]), tables_at),
      pl.BlockSpec((8, LANES), constant),
      pl.BlockSpec((LANES, LANES), constant),
      pl.BlockSpec(
        (1, 8, LANES),
        lambda b, g, j, i, *scalars: (
          b * blocks_q + near(b, j, i, *scalars),
          0,
          0,
        ),
      ),
    ],
    out_specs=[
      pl.BlockSpec((1, heads, width, size_q), last_keys),
      pl.BlockSpec((1, heads, size_k, width), keys_at),
      pl.BlockSpec((1, heads, size_k, value_width), keys_at),
      pl.BlockSpec((*sums, LANES), sums_at),
      pl.BlockSpec((*sums, distances), sums_at),
    ],
    scratch_shapes=[
      pltpu.VMEM((blocks_q, heads, width, size_q), jnp.float32),
      pltpu.VMEM((heads, size_k, width), jnp.float32),
      pltpu.VMEM((heads, size_k, value_width), jnp.float32),
      pltpu.VMEM((size_k, size_q), jnp.float32),
    ],
  )
  shape = jax.ShapeDtypeStruct
  of_sums = (batch * groups, kind.tables, 8)
  pairs = batch * queries * keys // 2
  return pl.pallas_call(
    functools.partial(
      _kernel, kind=kind, stripe=blocks.backward_stripe, zero=zero
    ),
    grid_spec=spec,
    out_shape=[
      shape((batch, num_heads, width, queries), q.dtype),
      shape(k.shape, k.dtype),
      shape(v.shape, v.dtype),
      shape((*of_sums, LANES), jnp.float32),
      shape((*of_sums, distances), jnp.float32),
    ],
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary"),
      vmem_limit_bytes=blocks.vmem_bytes,
    ),
    cost_estimate=pl.CostEstimate(
      flops=attention_backward_flops(pairs, num_heads, width, value_width),
      transcendentals=pairs * num_heads,
      bytes_accessed=sum(
        x.size * x.dtype.itemsize for x in (q, k, v, q, q, k, v)
      ),
    ),
    interpret=kind.interpret,
    name="silu_attention_backward",
  )(*inputs)
