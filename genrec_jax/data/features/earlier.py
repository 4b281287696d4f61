# SPDX-License-Identifier: Apache-2.0
"""How a value compares with those of its group that were there before it.

    less_e  = #{ j : group_j = group_e,  at_j < asked_e,  value_j < value_e }
    equal_e = the same with value_j = value_e
    count_e = the same with any value

All events at once, without a loop over them: two moments differ first at one
bit of their ranks, so per bit every event is compared with one half of a block,
by a sort. O(E log E) for each bit, of which there are as many as of the number
of moments in a group at most.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int, Shaped
import numpy as np


class Earlier(NamedTuple):
  """Counts of earlier events of the same group, one of each for every event."""

  less_E: Int[np.ndarray, "E"]
  equal_E: Int[np.ndarray, "E"]
  count_E: Int[np.ndarray, "E"]


def earlier_counts(
  group_E: Int[np.ndarray, "E"],
  at_E: Shaped[np.ndarray, "E"],
  asked_E: Shaped[np.ndarray, "E"],
  value_E: Float[np.ndarray, "E"],
  counted_E: Bool[np.ndarray, "E"],
) -> Earlier:
  """See the module docstring.

  Args:
    group_E: what is compared; any numbers.
    at_E: when an event was there to be counted, in any unit.
    asked_E: when it is asked about, in the same; what was there by then counts,
      what came at that moment does not.
    value_E: no NaN where an event counts.
    counted_E: which events count.
  """
  size = len(group_E)
  # Points of two kinds on one axis: what may count, and what asks.
  is_event_P = np.arange(2 * size) < size
  counts_P = np.concatenate([counted_E, np.zeros(size, bool)])
  group_P = np.concatenate([group_E, group_E])
  moment_P = _rank_within(group_P, np.concatenate([at_E, asked_E]))
  value_P = np.unique(np.concatenate([value_E] * 2), return_inverse=True)[1]
  found = np.zeros((3, 2 * size), np.int64)
  for bit in range(int(moment_P.max(initial=0)).bit_length()):
    # Of a pair that differs here first, the earlier one has a 0.
    late_P = (moment_P >> bit & 1).astype(bool)
    found += _counts(
      group_P,
      moment_P >> (bit + 1),
      value_P,
      counts_P & ~late_P,
      late_P & ~is_event_P,
    )
  return Earlier(*found[:, size:])


def _rank_within(group, moment):
  """Dense ranks of moments within each group."""
  order = np.lexsort((moment, group))
  new_group = np.append(True, np.diff(group[order]) != 0)[: len(order)]
  new = np.append(True, np.diff(moment[order]) != 0)[: len(order)] | new_group
  running = np.cumsum(new)
  start = np.maximum.accumulate(np.where(new_group, running, 0))
  rank = np.empty(len(order), np.int64)
  rank[order] = running - start
  return rank


def _counts(group, block, value, counts, asks):
  """Less, equal and all that count in each asking point's block."""
  found = np.zeros((3, len(group)), np.int64)
  some = counts | asks
  order = np.flatnonzero(some)
  order = order[np.lexsort((value[order], block[order], group[order]))]
  if not len(order):
    return found
  changes = [np.diff(x[order]) != 0 for x in (group, block)]
  new_block = np.append(True, changes[0] | changes[1])
  new_value = new_block | np.append(True, np.diff(value[order]) != 0)
  before = np.append(0, np.cumsum(counts[order]))
  of_block = _bounds(new_block)
  of_value = _bounds(new_value)
  less = before[of_value[0]] - before[of_block[0]]
  equal = before[of_value[1]] - before[of_value[0]]
  every = before[of_block[1]] - before[of_block[0]]
  mine = asks[order]
  found[:, order[mine]] = np.stack([less, equal, every])[:, mine]
  return found


def _bounds(new):
  """Of each place, where its run begins and ends."""
  starts = np.flatnonzero(new)
  run = np.cumsum(new) - 1
  return starts[run], np.append(starts[1:], len(new))[run]
