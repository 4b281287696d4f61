# SPDX-License-Identifier: Apache-2.0
"""What pointwise attention knows of queries and keys besides their vectors."""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.visible_keys import (
  VisibleKeys,
  visible_keys,
  whole_segments,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """Packed rows of Q queries and M keys; no gradient flows to any of it.

  Attributes:
    visible: which keys each query sees.
    weight_BQ: 1 / normalizer of each query, float32.
    query_positions_BQ: within the segment, int32 like what follows.
    key_positions_BM: likewise.
    query_times_BQ: seconds that each query asks about.
    key_times_BM: seconds of each event.
    segments_BM: segment of each key, 0 = padding outside of any.
    aligned: query i is key i and in its own interval, and positions count a
      segment's keys, so that p_j - p_i = j - i wherever i sees j. Static.
  """

  visible: VisibleKeys
  weight_BQ: Any
  query_positions_BQ: Any
  key_positions_BM: Any
  query_times_BQ: Any
  key_times_BM: Any
  segments_BM: Any
  aligned: bool = dataclasses.field(metadata={"static": True})

  @classmethod
  def of(
    cls,
    info: SequenceInfo,
    normalizer: float | Float[Array, ""] | Float[Array, "B Q"],
    window: int = 0,
    full: int = 0,
    query_index_BQ: Int[Array, "B Q"] | None = None,
  ) -> "Rows":
    """Rows of all positions, or of some queries of theirs.

    Args:
      info: of the keys' rows.
      normalizer: a constant, or one per query.
      window: see ops/visible_keys.py.
      full: see ops/visible_keys.py.
      query_index_BQ: position in the row of each query, -1 = none; None = all.
    """
    visible = visible_keys(info, window, full)
    positions, times = info.positions_BL, info.query_times_BL
    if query_index_BQ is not None:
      index = jnp.maximum(query_index_BQ, 0)
      visible = visible.take(query_index_BQ)
      positions = jnp.take_along_axis(positions, index, axis=1)
      times = jnp.take_along_axis(times, index, axis=1)
    weight = 1.0 / lax.stop_gradient(jnp.asarray(normalizer, jnp.float32))
    # What sees nothing is 0 whatever its normalizer, be it 0 too.
    weight = jnp.where(visible.own_BQ >= 0, weight, 0.0)
    return cls(
      visible=visible,
      weight_BQ=weight,
      query_positions_BQ=positions,
      key_positions_BM=info.positions_BL,
      query_times_BQ=times,
      key_times_BM=info.key_times_BL,
      segments_BM=whole_segments(info),
      aligned=all(
        x is None for x in (info.roles_BL, info.limits_BL, query_index_BQ)
      ),
    )

  def in_order(self, order_BQ: Int[Array, "B Q"]) -> "Rows":
    """The queries in another order, to be read with all keys.

    Args:
      order_BQ: which query comes first, second, ...
    """

    visible = self.visible
    weight = lax.bitcast_convert_type(self.weight_BQ, jnp.int32)
    columns = (visible.first_BQ, visible.end_BQ, visible.own_BQ, weight)
    columns += (self.query_positions_BQ, self.query_times_BQ)
    # Together: a TPU fetches a row of numbers as fast as one.
    all_BQC = rows_at(jnp.stack(columns, axis=2), order_BQ)
    first, end, own, weight, positions, times = jnp.moveaxis(all_BQC, 2, 0)
    return dataclasses.replace(
      self,
      visible=VisibleKeys(first, end, own),
      weight_BQ=lax.bitcast_convert_type(weight, jnp.float32),
      query_positions_BQ=positions,
      query_times_BQ=times,
    )

  def only(self, asked_BQ: Bool[Array, "B Q"]) -> "Rows":
    """The queries that are not asked see nothing."""
    visible = VisibleKeys(
      jnp.where(asked_BQ, self.visible.first_BQ, 0),
      jnp.where(asked_BQ, self.visible.end_BQ, 0),
      jnp.where(asked_BQ, self.visible.own_BQ, -1),
    )
    weight = jnp.where(asked_BQ, self.weight_BQ, 0.0)
    return dataclasses.replace(self, visible=visible, weight_BQ=weight)


def rows_at(
  x_BLD: Shaped[Array, "B L *D"], order_BQ: Int[Array, "B Q"]
) -> Shaped[Array, "B Q *D"]:
  """What stands at these places of each row of a batch."""
  return jax.vmap(lambda x, order: x[order])(x_BLD, order_BQ)
