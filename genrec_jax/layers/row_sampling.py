# SPDX-License-Identifier: Apache-2.0
"""Which rows of a batch are computed anew, and which are learned from.

    ceil(forward n) of the n rows are computed, drawn without replacement
    ceil(backward n) of these are differentiated, drawn among them

A row is an item that a batch has, however often. The others are read from what
is remembered of them. Shapes are fixed: there is room for the shares of as many
rows as there may be, and what is not needed of it is masked. The published form
draws rows of the log instead, so that what is shown often is drawn often; here
popular_rate leaves popular items out for most of the time, as published.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

_WHERE = "config.system.sampling"
# ceil(.2 x 5) is 1, whatever .2 is as a float.
_SLACK = 1e-4


class Chosen(NamedTuple):
  """Rows to compute.

  Attributes:
    places_F: where they stand among the U rows.
    forward_F: which of these places are in use; the others come last.
    backward_F: which are differentiated; none behind the first `trained`.
    trained: places that may be differentiated, a static number.
  """

  places_F: Int[Array, "F"]
  forward_F: Bool[Array, "F"]
  backward_F: Bool[Array, "F"]
  trained: int


@dataclasses.dataclass(frozen=True)
class RowSampling:
  """See the module docstring.

  Attributes:
    forward: share of the rows that is computed.
    backward: share of the rows that is differentiated.
    new_first: rows of which nothing is remembered are drawn before others.
    popular_count: training events that make an item popular; None = none is.
    popular_rate: chance of a popular item, remembered, to be drawn at all;
      published .1.
  """

  forward: float = 1.0
  backward: float = 1.0
  new_first: bool = True
  popular_count: int | None = None
  popular_rate: float = 0.1

  def __post_init__(self):
    if not 0 <= self.backward <= self.forward <= 1 or not self.forward:
      raise ValueError(
        f"{_WHERE}: forward={self.forward} must be above 0 and at most 1, and"
        f" backward={self.backward} from 0 to that: what is learned from is"
        " computed."
      )
    if not 0 <= self.popular_rate <= 1:
      raise ValueError(
        f"{_WHERE}.popular_rate={self.popular_rate} must be from 0 to 1."
      )
    if self.popular_count is not None and self.popular_count < 1:
      raise ValueError(
        f"{_WHERE}.popular_count={self.popular_count} must be at least 1, or"
        " None."
      )

  @property
  def everything(self) -> bool:
    """Whether every row is computed and differentiated."""
    return self.backward == 1 and self.popular_count is None

  @property
  def needs_memory(self) -> bool:
    """Whether some rows are not computed."""
    return self.forward < 1 or self.popular_count is not None

  def choose(
    self,
    rng: Key[Array, ""],
    where_U: Bool[Array, "U"],
    known_U: Bool[Array, "U"],
    count_U: Float[Array, "U"],
  ) -> Chosen:
    """Draws rows.

    Args:
      rng: of the draw.
      where_U: which are rows.
      known_U: of which something is remembered.
      count_U: training events of each.
    """
    size = len(where_U)
    first, second, third = jax.random.split(rng, 3)
    if self.popular_count is not None:
      rested_U = jax.random.uniform(third, (size,)) >= self.popular_rate
      where_U = where_U & ~(
        known_U & (count_U >= self.popular_count) & rested_U
      )
    count = jnp.sum(where_U).astype(jnp.float32)
    late_U = jax.random.uniform(first, (size,))
    if self.new_first:
      late_U = late_U + known_U
    order_U = jnp.argsort(jnp.where(where_U, late_U, 3.0))
    slots, trained = (
      math.ceil(share * size - _SLACK)
      for share in (self.forward, self.backward)
    )
    place_F = jnp.arange(slots, dtype=jnp.float32)
    forward_F = place_F < jnp.ceil(self.forward * count - _SLACK)
    # The new would come first of all: who is learned from is drawn again.
    again_F = jax.random.uniform(second, (slots,))
    mixed_F = jnp.argsort(jnp.where(forward_F, again_F, 2.0))
    backward_F = place_F < jnp.ceil(self.backward * count - _SLACK)
    return Chosen(order_U[:slots][mixed_F], forward_F, backward_F, trained)
