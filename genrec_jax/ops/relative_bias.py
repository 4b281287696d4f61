# SPDX-License-Identifier: Apache-2.0
"""Relative bias of attention scores: learned by distance and time, or ALiBi.

    bias[h, i, j] = w_position[p_j - p_i] + w_time[bucket(t_i - t_j)]
                    - slope_h |p_j - p_i|

p are positions within a segment, t_i the time that query i asks about, t_j the
time of event j (HSTU's rab, arXiv 2402.17152; slopes: Press et al., ICLR
2022). Tables are shared by heads, as published, or one per head.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.time_buckets import BUCKET_WIDTH, time_buckets


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BiasTables:
  """Learned scalars of a relative bias; a part that is off is None.

  Attributes:
    position: (2n - 1,) or (H, 2n - 1) by p_j - p_i, from -(n - 1) to n - 1;
      farther pairs take the outermost entry.
    time: (buckets,) or (H, buckets), one per time bucket, the last one open.
    slopes: ALiBi's, one per head; constants.
    bucket_width: of a time bucket, in natural-log units.
  """

  position: Any = None
  time: Any = None
  slopes: tuple[float, ...] | None = dataclasses.field(
    default=None, metadata={"static": True}
  )
  bucket_width: float = dataclasses.field(
    default=BUCKET_WIDTH, metadata={"static": True}
  )

  @property
  def reach(self) -> int:
    """n - 1, the largest distance with an entry of its own."""
    return (self.position.shape[-1] - 1) // 2

  def check(self, num_heads: int) -> None:
    """Raises a ValueError where tables do not fit the heads or each other."""
    for name in ("position", "time"):
      table = getattr(self, name)
      if table is None:
        continue
      if table.ndim not in (1, 2) or (
        table.ndim == 2 and table.shape[0] != num_heads
      ):
        raise ValueError(
          f"bias.{name} has shape {table.shape}: expected (n,), shared by"
          f" heads, or ({num_heads}, n), one per head."
        )
    if self.position is not None and self.position.shape[-1] % 2 == 0:
      raise ValueError(
        f"bias.position has {self.position.shape[-1]} entries: it takes an odd"
        " number, 2n - 1."
      )
    if self.slopes is not None and len(self.slopes) != num_heads:
      raise ValueError(
        f"{len(self.slopes)} ALiBi slopes for {num_heads} heads."
      )

  def of_pairs(
    self, offset: Int[Array, "*o"], seconds: Int[Array, "*s"] | None
  ) -> Float[Array, "..."] | None:
    """The bias of pairs, heads in front of the last two dimensions.

    Args:
      offset: p_j - p_i, (Q, M) or (B, Q, M).
      seconds: t_i - t_j, (B, Q, M); only read with a time table.

    Returns:
      (#B, #H, Q, M), or None without any part.
    """
    parts = []
    if self.position is not None:
      index = jnp.clip(offset, -self.reach, self.reach) + self.reach
      parts.append(_look_up(self.position, index))
    if self.time is not None:
      buckets = time_buckets(seconds, self.bucket_width, self.time.shape[-1])
      parts.append(_look_up(self.time, buckets))
    if self.slopes is not None:
      distance = jnp.abs(offset).astype(jnp.float32)
      distance = _batched(distance)[:, None]
      slopes = jnp.asarray(np.array(self.slopes, np.float32))
      parts.append(-slopes[None, :, None, None] * distance)
    return sum(parts[1:], parts[0]) if parts else None


def alibi_slopes(num_heads: int) -> tuple[float, ...]:
  """2^(-8 h / H) for heads h = 1 .. H; 2^-h for eight of them."""
  return tuple(2.0 ** (-8 * h / num_heads) for h in range(1, num_heads + 1))


def _batched(x):
  return x[None] if x.ndim == 2 else x


def _look_up(table, index):
  """(n,) or (H, n) at (Q, M) or (B, Q, M) -> (#B, #H, Q, M)."""
  found = jnp.atleast_2d(table).at[:, index].get(mode="promise_in_bounds")
  return jnp.moveaxis(found, 0, -3) if index.ndim == 3 else found[None]
