# SPDX-License-Identifier: Apache-2.0
"""In which order the times of packed rows are, and how to bring them into it.

The gradient of a time table needs queries in the order of the times that they
ask about (tpu_backward.py), within each segment, and tells queries that see
later keys from those that do not.
"""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from genrec_jax.ops.silu_attention.rows import Rows
from genrec_jax.ops.silu_attention.tpu_tables import segment_bounds


def by_time(rows: Rows) -> Int[Array, "B Q"]:
  """Which query comes first, second, ...; segments stay where they are."""
  start, _ = segment_bounds(rows.segments_BM)
  index = lax.broadcasted_iota(jnp.int32, start.shape, 1)
  return lax.sort((start, rows.query_times_BQ, index), num_keys=2)[2]


def ahead(rows: Rows) -> Bool[Array, "B"]:
  """Rows in which a query may see a key of a later time than its own."""
  start, _ = segment_bounds(rows.segments_BM)

  def latest(a, b):
    return b[0], jnp.where(a[0] == b[0], jnp.maximum(a[1], b[1]), b[1])

  _, time = lax.associative_scan(latest, (start, rows.key_times_BM), axis=1)
  visible = rows.visible
  last = jnp.maximum(visible.end_BQ - 1, 0)
  time = jnp.take_along_axis(time, last, axis=1)
  sees = visible.end_BQ > visible.first_BQ
  return jnp.any(sees & (rows.query_times_BQ < time), axis=1)


def in_order(rows: Rows) -> Bool[Array, "B"]:
  """Whether aligned rows are in the order of times that the kernels need."""
  segments = rows.segments_BM
  same = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)

  def sorted_within(times):
    return jnp.all((times[:, 1:] >= times[:, :-1]) | ~same, axis=1)

  late = rows.query_times_BQ >= rows.key_times_BM
  late = late | (rows.visible.own_BQ < 0)
  return (
    sorted_within(rows.key_times_BM)
    & sorted_within(rows.query_times_BQ)
    & jnp.all(late, axis=1)
  )
