# SPDX-License-Identifier: Apache-2.0
"""Who sees whom among summaries of a history, its events, and candidates.

    a summary     sees all summaries and all events
    an event      sees itself and older events; summaries, where it may
    a candidate   sees all summaries, all events, and itself
    nobody sees a candidate but itself, and nobody sees padding

A row sees another where the moment since which that one can be seen is not
after the moment until which the row itself looks:

                  since                     until
    event t       t                         t
    summary       T, or 0 for events too    T          T: after all events
    padding       UNSEEN                    -1

Nothing is said of where rows stand. A candidate looks until EVERYTHING, and is
no key of anybody else's. Where events see summaries, which see all events, an
event knows of those behind it from the second layer on.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

UNSEEN = 2**30
EVERYTHING = UNSEEN - 1
_NOTHING = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sight:
  """See the module docstring; int32 (B, R) each.

  Attributes:
    since_BR: moments since which the rows are seen.
    until_BR: moments until which they look.
  """

  since_BR: Any
  until_BR: Any

  @classmethod
  def of_events(cls, there_BT: Bool[Array, "B T"]) -> "Sight":
    """Events in order of time; what is not there is padding."""
    moment = jnp.broadcast_to(jnp.arange(there_BT.shape[1]), there_BT.shape)
    return cls(
      jnp.where(there_BT, moment, UNSEEN),
      jnp.where(there_BT, moment, _NOTHING),
    )

  @classmethod
  def of_summaries(
    cls, rows: int, count: int, num_events: int, events_see: bool
  ) -> "Sight":
    """Summaries of histories.

    Args:
      rows: B.
      count: summaries of each.
      num_events: T.
      events_see: whether events see them.
    """
    until_BR = jnp.full((rows, count), num_events, jnp.int32)
    return cls(jnp.zeros_like(until_BR) if events_see else until_BR, until_BR)

  def then(self, other: "Sight") -> "Sight":
    """These rows and those of another behind them."""
    return jax.tree.map(
      lambda a, b: jnp.concatenate([a, b], axis=1), self, other
    )

  def take(
    self, index_BQ: Int[Array, "B Q"], there_BQ: Bool[Array, "B Q"]
  ) -> "Sight":
    """The rows at these places; what is not there is padding."""

    def at(x_BR, empty):
      return jnp.where(
        there_BQ, jnp.take_along_axis(x_BR, index_BQ, axis=1), empty
      )

    return Sight(at(self.since_BR, UNSEEN), at(self.until_BR, _NOTHING))
