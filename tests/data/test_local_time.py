# SPDX-License-Identifier: Apache-2.0
"""Clock and calendar against Python's, and moments that anyone can look up."""

import datetime
import zoneinfo

import numpy as np
import pytest

from genrec_jax.data.local_time import LocalTime


def test_utc_is_what_datetime_says_before_1970_too():
  epoch = 1_700_000_000
  seconds = np.random.default_rng(0).integers(-(2**31), 2**31, (50, 8))
  seconds[0, :2] = -(2**31), 2**31 - 1
  found = LocalTime(epoch).of(seconds.astype(np.int32))
  assert found.shape == (50, 8, 4) and found.dtype == np.int32
  start = datetime.datetime(1970, 1, 1)
  for time, numbers in zip(
    seconds.ravel().tolist(), found.reshape(-1, 4).tolist(), strict=True
  ):
    moment = start + datetime.timedelta(seconds=time + epoch)
    midnight = datetime.datetime(moment.year, moment.month, moment.day)
    first = datetime.datetime(moment.year, 1, 1)
    assert numbers == [
      (moment - midnight).total_seconds(),
      moment.weekday(),
      moment.month - 1,
      (midnight - first).days,
    ]


@pytest.mark.parametrize(
  ("unix", "zone", "expected"),
  [
    # The hour in which London's clocks go forward, and the one before it.
    (1_774_745_999, "Europe/London", [3599, 6, 2, 87]),
    (1_774_746_000, "Europe/London", [7200, 6, 2, 87]),
    # New Year's Eve of a leap year, which is a Wednesday in Auckland by then.
    (1_735_646_400, "UTC", [43_200, 1, 11, 365]),
    (1_735_646_400, "Pacific/Auckland", [3600, 2, 0, 0]),
    (-1, "UTC", [86_399, 2, 11, 364]),
  ],
)
def test_moments_of_zones(unix, zone, expected):
  found = LocalTime(unix - 60, zone).of(np.array([60], np.int32))
  assert found.tolist() == [expected]


@pytest.mark.parametrize("zone", ["Europe/Londn", "", "+25"])
def test_an_unknown_zone_is_refused(zone):
  with pytest.raises(ValueError, match="time_zone=.* is no time zone's name"):
    LocalTime(0, zone)


def test_zones_are_those_of_python():
  """Every hour of two years, where the machine has the table of zones."""
  try:
    zone = zoneinfo.ZoneInfo("America/New_York")
  except zoneinfo.ZoneInfoNotFoundError:
    pytest.skip("this machine has no table of zones")
  hours = np.arange(0, 2 * 365 * 24, dtype=np.int64) * 3600
  found = LocalTime(1_767_193_140, "America/New_York").of(hours)
  for time, numbers in zip(hours.tolist(), found.tolist(), strict=True):
    moment = datetime.datetime.fromtimestamp(1_767_193_140 + time, zone)
    assert numbers[0] // 3600 == moment.hour
    assert numbers[3] == moment.timetuple().tm_yday - 1
