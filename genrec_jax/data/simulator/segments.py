# SPDX-License-Identifier: Apache-2.0
"""Segments of simulated items and users, by which results can be cut.

An item's freshness says when it came, "old" before the log begins, "early" in
the first half of its days and "late" in the second; a user's activity is the
third of users, by number of events, "low", "medium" or "high". Its category is
in the item table anyway.
"""

from jaxtyping import Int, Shaped
import numpy as np

FRESHNESS = ("old", "early", "late")
ACTIVITY = ("low", "medium", "high")


def freshness(
  birth_V: Int[np.ndarray, "V"], start: int, end: int
) -> Shaped[np.ndarray, "V"]:
  """Freshness of items.

  Args:
    birth_V: unix seconds.
    start: of the log's first day, unix seconds.
    end: likewise of the day after its last.
  """
  middle = start + (end - start) // 2
  place_V = np.searchsorted([start, middle], birth_V, side="right")
  return np.array(FRESHNESS)[place_V]


def activity(events_U: Int[np.ndarray, "U"]) -> Shaped[np.ndarray, "U"]:
  """Activity of users.

  Args:
    events_U: number of events; users of one number are of one third.
  """
  borders = np.quantile(events_U, [1 / 3, 2 / 3], method="lower")
  return np.array(ACTIVITY)[np.searchsorted(borders, events_U, side="left")]
