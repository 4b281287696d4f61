# SPDX-License-Identifier: Apache-2.0
"""Which keys a query sees: an interval of its row, and itself.

A segment (one user) is contiguous within a packed row and holds, in order, a
context prefix, events, and candidate targets (SequenceInfo.roles_BL):

    an event    sees the context, the events before it, and itself
    a target    sees the context, all events, and itself, but no other target
    a context token sees the context and all events

With a window of w, events and targets reach back only w events (and the
context only from within that reach); the last `full` events and the targets
are exempt where full > 0. Those are the masks of the production HSTU layer
(and, with neither roles nor window, plain causal attention). Three integers
per query say it all, so no (L, L) mask exists outside a block.

A position with a limit of its own (SequenceInfo.limits_BL) sees that many of
its segment's first positions, whatever its role: an item that is asked about
in the middle of a history must not see what came of the items beside it.

Where there are roles or limits, padding among a segment's targets is a part of
it: a candidate that is left out of a request leaves such a hole, and those
behind it see what the others do.
"""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from genrec_jax.core.roles import CONTEXT, TARGET
from genrec_jax.core.types import SequenceInfo


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VisibleKeys:
  """Query i sees keys first <= j < end, and j = own.

  All are int32 (B, Q).

  Attributes:
    first_BQ: start of the interval, an index into the row's keys.
    end_BQ: its end (exclusive); 0 where a query sees nothing.
    own_BQ: the query's own key, -1 at padding.
  """

  first_BQ: Any
  end_BQ: Any
  own_BQ: Any

  def mask(
    self, num_keys: int, start: int | Int[Array, ""] = 0
  ) -> Bool[Array, "*B Q M"]:
    """True where query i may see key start + j, for num_keys keys."""
    shape = (*self.own_BQ.shape, num_keys)
    key_BQM = start + lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1)
    first, end, own = (
      x[..., None] for x in (self.first_BQ, self.end_BQ, self.own_BQ)
    )
    return ((key_BQM >= first) & (key_BQM < end)) | (key_BQM == own)

  def take(self, index_BQ: Int[Array, "B Q"]) -> "VisibleKeys":
    """Only the queries at these indices of the row; -1 sees nothing."""
    there = index_BQ >= 0

    def pick(x_BL, empty):
      taken = jnp.take_along_axis(x_BL, jnp.maximum(index_BQ, 0), axis=1)
      return jnp.where(there, taken, empty)

    return VisibleKeys(
      pick(self.first_BQ, 0), pick(self.end_BQ, 0), pick(self.own_BQ, -1)
    )


def visible_keys(
  info: SequenceInfo, window: int = 0, full: int = 0
) -> VisibleKeys:
  """What each position of packed rows sees.

  Args:
    info: packed rows; segments contiguous, roles in the order above.
    window: events that a query reaches back; 0 = all.
    full: last events of each segment that the window spares; 0 = none.

  Raises:
    ValueError: a negative window, or full events without a window.
  """
  if window < 0 or full < 0 or (full and not window):
    raise ValueError(
      f"window={window}, full={full}: a window is 0 (none) or positive, and"
      " full needs a window."
    )
  real, segment = info.segment_ids_BL > 0, whole_segments(info)
  length = segment.shape[-1]
  index = jnp.broadcast_to(jnp.arange(length), segment.shape)
  roles = jnp.zeros_like(segment) if info.roles_BL is None else info.roles_BL
  before = _shift(segment), _shift(roles)
  starts = (segment != before[0]) | (index == 0)
  context, target = roles == CONTEXT, roles == TARGET

  def latest(here):
    return lax.cummax(jnp.where(here, index, 0), axis=segment.ndim - 1)

  start = latest(starts)
  targets_start = target & (starts | (before[1] != TARGET))
  first_event = latest(~context & (starts | (before[1] == CONTEXT)))
  # Where a segment's events end: its first target, or the next segment.
  hole = (segment > 0) & ~real
  ahead = lax.cummin(
    jnp.where(starts | targets_start | hole, index, length),
    axis=segment.ndim - 1,
    reverse=True,
  )
  ahead = _shift(ahead, by=-1, fill=length)
  # Behind a hole there is another first target.
  past = jnp.where(real & ~target, index + 1, 0)
  ended = jnp.maximum(start, lax.cummax(past, axis=segment.ndim - 1))
  events_end = jnp.where(target, ended, ahead)

  first, end = start, jnp.where(context | target, events_end, index + 1)
  # A target looks back from where the events end, like the next event.
  place = jnp.where(target, events_end, index)
  if info.limits_BL is not None:
    limited = info.limits_BL >= 0
    end = jnp.where(limited, start + info.limits_BL, end)
    place = jnp.where(limited, end, place)
  if window:
    near = ~context & (place - window >= first_event)
    if full:
      near = near & (place < events_end - full)
    first = jnp.where(near, place - window, start)
  return VisibleKeys(
    first_BQ=jnp.where(real, first, 0),
    end_BQ=jnp.where(real, end, 0),
    own_BQ=jnp.where(real, index, -1),
  )


def whole_segments(info: SequenceInfo) -> Int[Array, "*B L"]:
  """Segment ids, holes included where a row has roles or limits."""
  segment = info.segment_ids_BL
  if info.roles_BL is None and info.limits_BL is None:
    return segment

  def nearest(reverse):
    def last(before, here):
      return jnp.where(here > 0, here, before)

    return lax.associative_scan(last, segment, reverse, axis=segment.ndim - 1)

  before, after = nearest(reverse=False), nearest(reverse=True)
  return jnp.where(before == after, before, segment)


def _shift(x, by=1, fill=-1):
  """x moved right (by = 1) or left (-1) by one, `fill` coming in."""
  edge = jnp.full_like(x[..., :1], fill)
  parts = [edge, x[..., :-1]] if by == 1 else [x[..., 1:], edge]
  return jnp.concatenate(parts, axis=-1)
