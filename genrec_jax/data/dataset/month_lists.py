# SPDX-License-Identifier: Apache-2.0
"""Lists by the month that they are of: whose else there are.

A season's lists are alike, whoever they are of. Another user's list of the same
month (of the calendar, UTC) is what a list could have been for all that the
season tells.
"""

import dataclasses

from jaxtyping import Int
import numpy as np


@dataclasses.dataclass(frozen=True)
class MonthLists:
  """Lists of users, and when they were.

  Attributes:
    user_N: whose they are.
    month_N: months since 1970.
    items_NJ: their items; 0 behind the end.
    epoch_seconds: unix seconds at time 0 of the data set; 0 where it has none.
  """

  user_N: Int[np.ndarray, "N"]
  month_N: Int[np.ndarray, "N"]
  items_NJ: Int[np.ndarray, "N J"]
  epoch_seconds: int = 0

  @classmethod
  def of(
    cls,
    user_N: Int[np.ndarray, "N"],
    moment_N: Int[np.ndarray, "N"],
    items_NJ: Int[np.ndarray, "N J"],
    epoch_seconds: int | None,
  ) -> "MonthLists":
    """In any order; moments are seconds since the data set's epoch."""
    months = month_of(moment_N, epoch_seconds)
    order = np.argsort(months, kind="stable")
    return cls(
      user_N[order], months[order], items_NJ[order], epoch_seconds or 0
    )

  def others(
    self, user: int, moment: int, rng: np.random.Generator, count: int
  ) -> Int[np.ndarray, "count J"]:
    """Different lists of other users in a moment's month, drawn evenly.

    Lists of zeros where there are fewer.
    """
    month = month_of(np.array([moment]), self.epoch_seconds)[0]
    low, end = np.searchsorted(self.month_N, (month, month + 1))
    may = low + np.flatnonzero(self.user_N[low:end] != user)
    drawn = rng.choice(may, min(count, len(may)), replace=False)
    found = np.zeros((count, self.items_NJ.shape[1]), np.int32)
    found[: len(drawn)] = self.items_NJ[drawn]
    return found


def month_of(
  moments: Int[np.ndarray, "N"], epoch_seconds: int | None
) -> Int[np.ndarray, "N"]:
  """Months since 1970 of seconds since a data set's epoch."""
  seconds = moments.astype(np.int64) + (epoch_seconds or 0)
  return seconds.astype("datetime64[s]").astype("datetime64[M]").astype(int)
