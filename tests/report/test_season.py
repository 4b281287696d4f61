# SPDX-License-Identifier: Apache-2.0
"""June's and December's list: when is asked, what is joined, who has none."""

import datetime
import types
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest

from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.report.retrieval import season
from genrec_jax.serving.recommender import Recommender

_START = 1_600_000_000  # 2020-09-13


class _Model(Recommender):
  """Recommends the items of a month, whose number begins with the month's."""

  def __init__(self, uses_time=True, last=500, trained=True):
    run = types.SimpleNamespace(
      system=types.SimpleNamespace(uses_time=uses_time)
    )
    self.trained = types.SimpleNamespace(run=run) if trained else None
    self.users = types.SimpleNamespace(ids=["first", "second"])
    manifest = types.SimpleNamespace(epoch_seconds=_START)
    self.histories = types.SimpleNamespace(manifest=manifest)
    self.last, self.asked = last, []

  def record(self, user):
    return {"time": np.array([0, self.last])}

  def recommend(self, user, k, request_time):
    moment = datetime.datetime.fromtimestamp(request_time, datetime.UTC)
    self.asked.append((user, moment))
    ids = [f"{moment.month}-{i}" for i in range(k - 2)] + ["a", "b"]
    if moment.month == 12:
      ids = ids[::-1]
    titles = [f"<{i}> costs $1 or $2, {'long ' * 12}" for i in ids]
    return pl.DataFrame({"item_id": ids, "title": titles})


def test_both_lists_are_asked_when_the_month_comes_next():
  model = _Model()
  june, december = season.lists_of(model, k=4)
  assert (june.month, december.month) == ("June", "December")
  assert june.items == ["6-0", "6-1", "a", "b"]
  assert december.items == ["b", "a", "12-1", "12-0"]
  # The history ends in September.
  assert [when.date().isoformat() for _, when in model.asked] == [
    *("2021-06-15", "2020-12-15"),
  ]
  assert {user for user, _ in model.asked} == {"first"}
  assert june.asked == model.asked[0][1]
  season.lists_of(model, "second")
  assert model.asked[-1][0] == "second"


@pytest.mark.parametrize("month", [6, 12])
@pytest.mark.parametrize("days", [0, 1, 200, 364])
def test_a_month_is_the_first_one_behind_a_moment(month, days):
  moment = datetime.datetime(2019, 6, 15, 12, tzinfo=datetime.UTC)
  moment += datetime.timedelta(days=days)
  found = season.next_month(moment, month)
  assert (found.month, found.day) == (month, 15) and found > moment
  assert found - moment <= datetime.timedelta(days=366)


def test_the_plot_names_both_lists_and_joins_what_they_share():
  (plot,) = season.plots_of(_Model(), "second")
  assert plot.wide and "join the 2 that are in both" in plot.caption
  assert "first 10 items" in plot.caption and "2021-06-15" in plot.caption
  text = " ".join(ET.fromstring(plot.svg).itertext())
  for said in ("June", "December", "<6-0> costs $1 or $2", "..."):
    assert said in text
  assert plot.svg == season.plots_of(_Model(), "second")[0].svg


def test_who_reads_no_time_has_none():
  for model in (
    *(_Model(uses_time=False), _Model(trained=False)),
    _Model(last=UNKNOWN_TIME),
  ):
    assert season.plots_of(model) == [] and not model.asked
