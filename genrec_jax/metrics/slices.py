# SPDX-License-Identifier: Apache-2.0
"""Named slices of requests: by history, and by what is known of the target.

History length is cut at fixed bounds, so that slices of two data sets compare.
Popularity is the target's number of events in the TRAINING part: items that
have any are ordered by it and cut into quartiles of the items (a quartile of
the catalogue, not of the traffic; equal counts never straddle a bound), and
items with none are the slice "cold: 0 training events".

Targets of the day of the event before are a slice of their own: where times are
days, their order within one says nothing of what came next. A slice that would
be empty is left out. Every slice is a mask over the requests, (R,).
"""

from collections.abc import Collection, Sequence

from jaxtyping import Bool, Int
import numpy as np

_LENGTH_BOUNDS = (0, 5, 20, 50, 200)
COLD = "cold: 0 training events"
LATER = "a day or more"
_DAY = 86_400


def _between(values, low, high) -> Bool[np.ndarray, "R"]:
  return (values > low) & (values <= high)


def _name(low: int, high: int | None) -> str:
  if high is None:
    return f">{low}"
  return f"{high}" if high == low + 1 else f"{low + 1}-{high}"


def by_history_length(
  length_R: Int[np.ndarray, "R"],
) -> dict[str, Bool[np.ndarray, "R"]]:
  """Returns the masks of requests with 0, 1-5, 6-20 ... earlier events."""
  lows = (-1, *_LENGTH_BOUNDS)
  highs = (*_LENGTH_BOUNDS, None)
  masks = {
    _name(low, high): _between(length_R, low, np.inf if high is None else high)
    for low, high in zip(lows, highs, strict=True)
  }
  return {name: mask for name, mask in masks.items() if mask.any()}


def by_popularity(
  target_R: Int[np.ndarray, "R"], count_V1: Int[np.ndarray, "V1"]
) -> dict[str, Bool[np.ndarray, "R"]]:
  """Returns the masks of requests by the target's count of training events.

  Args:
    target_R: item index of every target, 1..V.
    count_V1: training events of every item index; entry 0 (pad) is ignored.
  """
  counts = count_V1[1:]
  known = counts[counts > 0]
  masks = {COLD: count_V1[target_R] == 0}
  if known.size:
    bounds = np.unique(
      np.quantile(known, (0.25, 0.5, 0.75, 1.0), method="lower")
    )
    lows = (0, *bounds[:-1])
    for low, high in zip(lows, bounds, strict=True):
      name = f"{_name(int(low), int(high))} training events"
      masks[name] = _between(count_V1[target_R], low, high)
  return {name: mask for name, mask in masks.items() if mask.any()}


def by_last_event(
  gap_R: Int[np.ndarray, "R"],
) -> dict[str, Bool[np.ndarray, "R"]]:
  """Returns the masks of requests by the target's time after the last event.

  Args:
    gap_R: seconds; below 0 where there is no event, or there are no times.
  """
  known = gap_R >= 0
  masks = {
    "under a day": known & (gap_R < _DAY),
    LATER: known & (gap_R >= _DAY),
  }
  return {name: mask for name, mask in masks.items() if mask.any()}


def by_action(
  action_R: Int[np.ndarray, "R"], done: Sequence[Collection[str]]
) -> dict[str, Bool[np.ndarray, "R"]]:
  """Returns the masks of requests by what is done with the target.

  Several actions at once make it part of the slice of each.

  Args:
    action_R: index of the target's action.
    done: the actions that an index stands for; those of 0, none.
  """
  masks = {
    name: np.array([name in names for names in done], bool)[action_R]
    for name in dict.fromkeys(name for names in done for name in names)
  }
  return {name: mask for name, mask in masks.items() if mask.any()}
