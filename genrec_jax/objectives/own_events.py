# SPDX-License-Identifier: Apache-2.0
"""What the user of a position did, which is never a negative of it.

    never[t, n]   ids[n] is the label of position t, or of a later one of its
                  segment;  with `past` also what stands at t or before it

so that no loss pushes down what the user takes next, nor what follows in the
same row. Positions of a row are in the order of time, and those of a segment
side by side.
Shapes: B rows of S positions, T = B S; N ids for all, or N of each position.
"""

import dataclasses

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from genrec_jax.core.types import Batch

# Places of a row that one turn of a compiled loop takes.
_UNROLL = 8


@dataclasses.dataclass(frozen=True)
class OwnEvents:
  """Labels and events of every position's own segment.

  Attributes:
    labels_BS: item to find at each position; 0 = none.
    segments_BS: whose they are; None = each position is alone.
    events_BS: item read at each position; None = only labels count.
  """

  labels_BS: Int[Array, "B S"]
  segments_BS: Int[Array, "B S"] | None = None
  events_BS: Int[Array, "B S"] | None = None

  @classmethod
  def of(cls, batch: Batch, label: str, *, past: bool) -> "OwnEvents":
    """Those of a batch.

    Args:
      batch: a layout's; one without segments says nothing of other positions.
      label: name of the items to find.
      past: whether events up to a position count as well.

    Raises:
      ValueError: `past`, and the batch has no events at the labels' places.
    """
    labels_BS = batch[label]
    # Where labels have places of their own, a batch says whose they are.
    segments_BS = batch.get("target_segment_BS", batch.get("segment_ids_BL"))
    if not past:
      return cls(labels_BS, segments_BS)
    events_BS = batch.get("item_BL")
    if events_BS is None or events_BS.shape != labels_BS.shape:
      raise ValueError(
        "config.objective.own_history=False needs the event at the place of"
        f" each {label!r}, which the layout does not give: take"
        " layouts.NextItem, or own_history=True."
      )
    return cls(labels_BS, segments_BS, events_BS)

  def among(self, ids: Int[Array, "*S N"]) -> Bool[Array, "T N"]:
    """Which ids are the user's own, by position.

    Costs T N comparisons for shared ids, and T N log S look-ups for (T, N).
    """
    labels_T1 = self.labels_BS.reshape(-1, 1)
    if self.segments_BS is None:
      ids_TN = jnp.atleast_2d(ids)
      own = ids_TN == labels_T1
      if self.events_BS is not None:
        own = own | (ids_TN == self.events_BS.reshape(-1, 1))
      return own
    find = _of_shared if ids.ndim == 1 else _of_each
    own = find(ids, self.labels_BS, self.segments_BS)
    if self.events_BS is None:
      return own
    # What comes before, read backwards, comes after.
    back = ids
    if ids.ndim == 2:
      back = _flipped(ids.reshape(*self.labels_BS.shape, -1))
      back = back.reshape(ids.shape)
    before = find(back, _flipped(self.events_BS), _flipped(self.segments_BS))
    shape = (*self.labels_BS.shape, ids.shape[-1])
    return own | _flipped(before.reshape(shape)).reshape(own.shape)

  def of_positions(
    self, at_P: Int[Array, "P"]
  ) -> tuple[Bool[Array, "P E"], Int[Array, "P E"]]:
    """Items that stand in the rows of some positions, and which are their own.

    Args:
      at_P: indices of positions, from 0 to T - 1.
    """
    length = self.labels_BS.shape[1]
    row_P, place_P1 = at_P // length, (at_P % length)[:, None]
    labels_PS = self.labels_BS[row_P]
    places_S = jnp.arange(length)[None]
    if self.segments_BS is None:
      later_PS = before_PS = places_S == place_P1
    else:
      segments_PS = self.segments_BS[row_P]
      own_P1 = jnp.take_along_axis(segments_PS, place_P1, axis=1)
      later_PS = (segments_PS == own_P1) & (places_S >= place_P1)
      before_PS = (segments_PS == own_P1) & (places_S <= place_P1)
    if self.events_BS is None:
      return later_PS, labels_PS
    return (
      jnp.concatenate([later_PS, before_PS], axis=1),
      jnp.concatenate([labels_PS, self.events_BS[row_P]], axis=1),
    )


def _flipped(x_BS: Array) -> Array:
  return jnp.flip(x_BS, axis=1)


def _of_shared(ids_N, labels_BS, segments_BS) -> Bool[Array, "T N"]:
  """From each row's last place to its first, what was met in the segment."""

  def step(met_BN, place):
    label_B, segment_B, after_B = place
    met_BN = met_BN & (segment_B == after_B)[:, None]
    met_BN = met_BN | (ids_N[None, :] == label_B[:, None])
    return met_BN, met_BN

  after_BS = jnp.pad(segments_BS[:, 1:], ((0, 0), (0, 1)))
  places = tuple(x.T for x in (labels_BS, segments_BS, after_BS))
  start = jnp.zeros((len(labels_BS), len(ids_N)), bool)
  length = labels_BS.shape[1]
  _, met_SBN = lax.scan(
    step, start, places, reverse=True, unroll=min(_UNROLL, length)
  )
  return jnp.moveaxis(met_SBN, 0, 1).reshape(-1, len(ids_N))


def _of_each(ids_TN, labels_BS, segments_BS) -> Bool[Array, "T N"]:
  """Whether the first place of an id from a position on is in its segment."""
  num_rows, length = labels_BS.shape
  places_S = jnp.arange(length, dtype=jnp.int32)
  end_BS = _ends(segments_BS)

  def of_row(ids_SN, labels_S, end_S):
    sorted_S, at_S = lax.sort((labels_S, places_S), num_keys=2)

    def halve(_, bounds):
      low, high = bounds
      middle = jnp.minimum((low + high) // 2, length - 1)
      label, at = sorted_S[middle], at_S[middle]
      below = (label < ids_SN) | ((label == ids_SN) & (at < places_S[:, None]))
      below = below & (low < high)
      return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

    low = jnp.zeros_like(ids_SN)
    bounds = (low, jnp.full_like(ids_SN, length))
    low, _ = lax.fori_loop(0, length.bit_length(), halve, bounds)
    first = jnp.minimum(low, length - 1)
    found = (low < length) & (sorted_S[first] == ids_SN)
    return found & (at_S[first] < end_S[:, None])

  ids_BSN = ids_TN.reshape(num_rows, length, -1)
  own_BSN = jax.vmap(of_row)(ids_BSN, labels_BS, end_BS)
  return own_BSN.reshape(ids_TN.shape)


def _ends(segments_BS: Int[Array, "B S"]) -> Int[Array, "B S"]:
  """The place behind the last one of each position's segment."""
  length = segments_BS.shape[1]
  places_S = jnp.arange(length, dtype=jnp.int32)
  last_BS = jnp.pad(
    segments_BS[:, 1:] != segments_BS[:, :-1],
    ((0, 0), (0, 1)),
    constant_values=True,
  )
  behind_BS = jnp.where(last_BS, places_S + 1, length)
  return lax.cummin(behind_BS, axis=1, reverse=True)
