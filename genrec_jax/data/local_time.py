# SPDX-License-Identifier: Apache-2.0
"""What a clock and a calendar on the wall show: seconds -> CALENDAR numbers.

    second   of the day, 0 .. 86,399
    weekday  0 = Monday
    month    0 = January
    day      of the year, 0 = January 1

A source says in which zone its people live (`time_zone`, see zones.py); its
hours have summer time where the zone has.
"""

import dataclasses

from jaxtyping import Int, Int32
import numpy as np
import polars as pl

from genrec_jax.data import zones

CALENDAR = ("second", "weekday", "month", "day")


@dataclasses.dataclass(frozen=True)
class LocalTime:
  """The clock of a data set.

  Attributes:
    epoch_seconds: unix seconds at time 0.
    time_zone: IANA name.
  """

  epoch_seconds: int
  time_zone: str = zones.UTC

  def __post_init__(self):
    zones.check(self.time_zone)

  def of(self, seconds: Int[np.ndarray, "*n"]) -> Int32[np.ndarray, "*n 4"]:
    """CALENDAR of times in seconds since the epoch, before it too."""
    unix = seconds.reshape(-1).astype(np.int64) + self.epoch_seconds
    local = _local(pl.lit(pl.Series(unix)), self.time_zone)
    clock = local.dt
    shown = pl.select(
      second=clock.hour().cast(pl.Int32) * 3600
      + clock.minute().cast(pl.Int32) * 60
      + clock.second(),
      weekday=clock.weekday() - 1,
      month=clock.month() - 1,
      day=clock.ordinal_day() - 1,
    )
    columns = [shown[name].to_numpy() for name in CALENDAR]
    table = np.stack(columns, axis=-1).astype(np.int32)
    return table.reshape(*seconds.shape, len(CALENDAR))


def _local(unix: pl.Expr, time_zone: str) -> pl.Expr:
  """Unix seconds as local times."""
  utc = pl.from_epoch(unix.cast(pl.Int64), time_unit="s")
  return utc.dt.replace_time_zone(zones.UTC).dt.convert_time_zone(time_zone)
