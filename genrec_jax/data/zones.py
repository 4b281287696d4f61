# SPDX-License-Identifier: Apache-2.0
"""Time zones by name, and local times as UTC.

    check("Europe/London")
    utc(pl.col("bought_at"), "Europe/London")   # 2010-07-01 10:00 -> 09:00

Names are those of the IANA database, as Python's zoneinfo has them. Of an hour
that a clock shows twice, in autumn, the first is meant; one that it skips, in
spring, is no time.
"""

import zoneinfo

import polars as pl

from genrec_jax.core.suggest import choices_hint, short

UTC = "UTC"


def check(name: str, option: str = "time_zone") -> str:
  """The name, if it is a time zone's.

  Args:
    name: such as "Europe/London".
    option: what the caller calls it, for the error.

  Raises:
    ValueError: no zone has that name.
  """
  if name == UTC:
    return name
  known = zoneinfo.available_timezones()
  if not known:
    raise ValueError(
      f"{option}={short(name)}: this machine has no time zones. Install them:"
      " pip install tzdata."
    )
  if name not in known or not _of_polars(name):
    raise ValueError(
      f"{option}={short(name)} is no time zone's name, such as 'UTC' or"
      f" 'Europe/London'.{choices_hint(name, known)}"
    )
  return name


def utc(local: pl.Expr, zone: str) -> pl.Expr:
  """Local times without a zone as UTC; null where there is no such time."""
  if zone == UTC:
    return local
  aware = local.dt.replace_time_zone(
    zone, ambiguous="earliest", non_existent="null"
  )
  return aware.dt.convert_time_zone(UTC).dt.replace_time_zone(None)


def _of_polars(name: str) -> bool:
  """Whether Polars has it too: a machine may have names of its own."""
  try:
    pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(name)
  except pl.exceptions.PolarsError:
    return False
  return True
