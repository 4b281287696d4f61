# SPDX-License-Identifier: Apache-2.0
"""Which events of a group were over at a moment: a join at a point in time.

    index = EventIndex.of(item_E, time_E, user=user_E, action=action_E)
    place_NJ = index.last(item_N, time_N, 50)      NONE where there are fewer
    index.columns["user"][place_NJ]                0 there

Events of all users lie by (group, time); of one group and time they keep the
order in which they were given. An event is over at a moment if its time is
less: what happens at the moment itself, the event that is asked about among it,
is not. Users and items are exchanged by exchanging the two columns: grouped by
user an event log holds lists of items, grouped by item lists of users. A lookup
is two binary searches; the index takes 8 bytes an event and its columns.
"""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Int, Shaped
import numpy as np

NONE = -1
# A group has as many keys as there are int32 times, and room around them.
_SPAN = 2**34


@dataclasses.dataclass(frozen=True, eq=False)
class EventIndex:
  """See the module docstring.

  Attributes:
    keys_E: of the events, ascending.
    columns: of the events by name, in that order, and a 0 at the end, which is
      what the place NONE reads.
  """

  keys_E: Int[np.ndarray, "E"]
  columns: Mapping[str, Shaped[np.ndarray, "E1"]]

  @classmethod
  def of(
    cls,
    group_E: Int[np.ndarray, "E"],
    time_E: Int[np.ndarray, "_"],
    **columns: Shaped[np.ndarray, "_"],
  ) -> "EventIndex":
    """Sorts events.

    Args:
      group_E: what a lookup names, from 0 and below 2^29.
      time_E: seconds, from -2^33 and below 2^33.
      **columns: what is known of each event.

    Raises:
      ValueError: columns of different lengths.
    """
    lengths = {"time": len(time_E), **{n: len(c) for n, c in columns.items()}}
    for name, length in lengths.items():
      if length != len(group_E):
        raise ValueError(
          f"column {name!r} has {length} events, and groups are told of"
          f" {len(group_E)}: give one value an event."
        )
    keys_E = _keys(group_E, time_E)
    order_E = np.argsort(keys_E, kind="stable")
    by_name = {
      name: np.append(column[order_E], np.zeros(1, column.dtype))
      for name, column in columns.items()
    }
    return cls(keys_E[order_E], by_name)

  def starts(self, group_N: Int[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """Places of the first event of groups."""
    return np.searchsorted(self.keys_E, group_N.astype(np.int64) * _SPAN)

  def ends(
    self, group_N: Int[np.ndarray, "N"], time_N: Int[np.ndarray, "N"]
  ) -> Int[np.ndarray, "N"]:
    """Places behind the last event of groups before moments."""
    return np.searchsorted(self.keys_E, _keys(group_N, time_N))

  def counts(
    self, group_N: Int[np.ndarray, "N"], time_N: Int[np.ndarray, "N"]
  ) -> Int[np.ndarray, "N"]:
    """How many events of groups were over at moments."""
    return self.ends(group_N, time_N) - self.starts(group_N)

  def last(
    self,
    group_N: Int[np.ndarray, "N"],
    time_N: Int[np.ndarray, "N"],
    length: int,
    *,
    seed: int | None = None,
  ) -> Int[np.ndarray, "N J"]:
    """Places of at most `length` events of groups before moments.

    Oldest first, NONE behind the last.

    Args:
      group_N: of each lookup.
      time_N: seconds; events before it are found.
      length: J.
      seed: None for the newest events; else a uniform draw of them, without
        replacement, which is the same whenever the group has as many.
    """
    start_N, end_N = self.starts(group_N), self.ends(group_N, time_N)
    first_N = np.maximum(start_N, end_N - length)
    place_NJ = first_N[:, None] + np.arange(length)
    if seed is not None:
      for row in np.flatnonzero(end_N - start_N > length):
        count = int(end_N[row] - start_N[row])
        rng = np.random.default_rng((seed, int(group_N[row]), count))
        drawn_J = rng.choice(count, length, replace=False, shuffle=False)
        place_NJ[row] = start_N[row] + np.sort(drawn_J)
    return np.where(place_NJ < end_N[:, None], place_NJ, NONE)


def _keys(
  group_n: Int[np.ndarray, "n"], time_n: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
  """Numbers that sort by (group, time)."""
  shifted_n = time_n.astype(np.int64) + _SPAN // 2
  return group_n.astype(np.int64) * _SPAN + np.clip(shifted_n, 0, _SPAN - 1)
