# SPDX-License-Identifier: Apache-2.0
"""Recommendation lists as arrays: places, padding and repeats.

lists_UK[u, r - 1] is what list u shows at place r: an item index 1..V, or
anything below 1 (0 and -1 are both in use) where the place is empty. Empty
places may lie anywhere and the items behind them keep their places. The metrics
of lists (exposure, novelty, list_diversity, serendipity, list_calibration) are
of all K places that they are given; `first_places` cuts to the first k.

One value per list is a float64 (U,), NaN where a metric is not defined for
that list, for arithmetic on arrays. A list without any item has no value of any
metric but of its filled share. A repeated item counts once for every place,
unless a metric says otherwise.
"""

from jaxtyping import Bool, Float, Int
import numpy as np


def first_places(
  lists_UK: Int[np.ndarray, "U K"], k: int, num_items: int
) -> Int[np.ndarray, "U _"]:
  """Returns the first k places, (U, k), with 0 in the empty ones.

  Args:
    lists_UK: the lists; K may only be below k where the whole catalogue is.
    k: the cut-off.
    num_items: V.

  Raises:
    ValueError: k below 1, fewer places than k, or an id above V.
  """
  places = lists_UK.shape[1]
  if k < 1:
    raise ValueError(f"k={k} must be at least 1")
  if places < min(k, num_items):
    raise ValueError(
      f"lists of {places} places cannot give metrics at k={k} over"
      f" {num_items:,} items: fetch {min(k, num_items)} places or lower k"
    )
  if lists_UK.size and lists_UK.max() > num_items:
    row = int(np.argmax(lists_UK.max(axis=1)))
    raise ValueError(
      f"list {row} holds item {lists_UK[row].max()}; items are 1..{num_items}"
      " and empty places are 0 or below"
    )
  kept = np.maximum(lists_UK[:, :k], 0)
  return np.pad(kept, ((0, 0), (0, k - kept.shape[1])))


def mean_of_places(
  values_UK: Float[np.ndarray, "U K"], where_UK: Bool[np.ndarray, "U K"]
) -> Float[np.ndarray, "U"]:
  """Returns each list's mean over the places of `where_UK`, NaN without any."""
  count_U = where_UK.sum(axis=1)
  sum_U = np.where(where_UK, values_UK, 0.0).sum(axis=1)
  return np.where(count_U > 0, sum_U / np.maximum(count_U, 1), np.nan)


def repeats(lists_UK: Int[np.ndarray, "U K"]) -> Bool[np.ndarray, "U K"]:
  """Returns True for items that an earlier place of their list holds too."""
  same_UKK = lists_UK[:, :, None] == lists_UK[:, None, :]
  earlier_KK = np.tri(lists_UK.shape[1], k=-1, dtype=bool)
  return (same_UKK & earlier_KK).any(axis=2) & (lists_UK > 0)


def filled_share(
  lists_UK: Int[np.ndarray, "U K"],
) -> Float[np.ndarray, "U"]:
  """Returns the share of the K places that hold an item."""
  return (lists_UK > 0).mean(axis=1)


def unrepeated_share(
  lists_UK: Int[np.ndarray, "U K"],
) -> Float[np.ndarray, "U"]:
  """Returns the share of the filled places whose item is new to the list."""
  placed_UK = lists_UK > 0
  return mean_of_places((~repeats(lists_UK)).astype(np.float64), placed_UK)
