# SPDX-License-Identifier: Apache-2.0
"""What configs of a shop share: the levers by which a model reads times.

    bias            how long ago, by a learned bias of time buckets
    rotary          how long ago, by turns of periods from a minute to two years
    year            likewise modulo a year, a half, a third and a quarter of it
    calendar        hour, weekday, month, day of the year that is asked about
    calendar_token  the same, as a token behind the history and not added to it
    no_time         none of them

Variants name those that are on; without any, BOTH are. A title says which.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common

LEVERS = {
  "no_time": "no time",
  "bias": "time bias",
  "rotary": "rotary time",
  "year": "rotary year",
  "calendar": "calendar",
  "calendar_token": "calendar token",
}
BOTH = ("bias", "calendar")
_YEAR = 31_556_952


def check_levers(variants: Set[str]) -> None:
  """Raises a ValueError for levers that exclude each other."""
  calendars = ("calendar", "calendar_token")
  common.exclusive(variants, calendars)
  for lever in LEVERS:
    if lever != "no_time":
      common.exclusive(variants, ("no_time", lever))


def read_times(c: ConfigDict, name: str, variants: Set[str]) -> None:
  """Gives a config of models.NextItem on HSTU the levers, and its title.

  Args:
    c: of which the model, the layout and the title change.
    name: of the model, as published.
    variants: those asked for.
  """
  named = variants & {*LEVERS}
  levers = named or {*BOTH}
  c.title = common.title(name, levers, LEVERS)
  c.system.backbone.time_bias = "bias" in levers
  exact = tuple(_YEAR // part for part in (1, 2, 3, 4))
  rotary = common.rotary_time() | {
    "periods": exact if "year" in levers else (),
    "geometric": 12 if "rotary" in levers else 0,
  }
  if levers & {"rotary", "year"}:
    c.system.backbone.rotary = rotary
  if levers & {"calendar", "calendar_token"}:
    c.system.calendar = c.pipeline.layout.calendar = True
  if "calendar_token" in levers:
    c.system.calendar_as = "token"


def both_ways(c: ConfigDict) -> None:
  """Histories stay among the candidates: what was bought is bought again.

  Results have the other way beside it, as test_filtered.
  """
  c.evals.next_item.filter_history = False
