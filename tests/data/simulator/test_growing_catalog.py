# SPDX-License-Identifier: Apache-2.0
"""Items are born, shown so often and die; clicks have their chance."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data import GlobalTime
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.growing_catalog import GrowingCatalog

_DAY = 86_400
_SMALL = GrowingCatalog(
  num_users=20, births_per_day=10, life_days=2.0, visits=6, days=12
)


def test_an_item_is_shown_so_often_within_its_life():
  stream = _SMALL.draw()
  assert (np.diff(stream.time_E) >= 0).all()
  age_E = stream.time_E - stream.born_V[stream.item_E]
  # Times are whole seconds.
  assert (age_E > -1).all() and (age_E < 2 * _DAY).all()
  inside = (stream.born_V >= 0) & (stream.born_V < 10 * _DAY)
  shown = np.bincount(stream.item_E, minlength=stream.num_items)
  assert (shown[inside] == 6).all() and shown.max() == 6
  # 10 a day, and 20 that lived at the beginning.
  assert stream.num_items == 12 * 10 + 20 - 1
  alive = [
    (stream.born_V <= t) & (t < stream.born_V + 2 * _DAY)
    for t in np.arange(0.53, 12) * _DAY
  ]
  assert {int(x.sum()) for x in alive} == {_SMALL.num_alive} == {20}
  per_day = np.bincount(stream.time_E // _DAY, minlength=12)
  assert abs(per_day - 60).max() <= 15
  # Its visits are one in each equal part of its life.
  one = np.flatnonzero(inside)[3]
  parts = age_E[stream.item_E == one] // (2 * _DAY / 6)
  np.testing.assert_array_equal(parts, np.arange(6))


def test_where_items_stay_nobody_is_born():
  moving = _SMALL.draw()
  stream = dataclasses.replace(_SMALL, items_stay=True, days=30).draw()
  assert stream.num_items == 20 < moving.num_items
  assert len(stream) == 30 * 60
  assert set(stream.item_E[-300:].tolist()) == set(range(20))


def test_users_come_and_go_where_they_have_a_life():
  stay = _SMALL.draw()
  assert stay.num_users == 20 and set(stay.user_E.tolist()) == set(range(20))
  stream = dataclasses.replace(_SMALL, user_life_days=4.0).draw()
  assert stream.num_users == 20 + 12 * 5
  for user in range(stream.num_users):
    times = stream.time_E[stream.user_E == user]
    leaves = (user + 1) * 4 * _DAY / 20
    assert (times <= leaves).all() and (times >= leaves - 4 * _DAY - 1).all()


def test_clicks_have_their_chance_and_depend_on_both():
  world = GrowingCatalog(
    num_users=100, births_per_day=100, visits=100, days=4, quality=0.0
  )
  stream = world.draw()
  chance, click = stream.chance_E, stream.click_E
  assert click.mean() == pytest.approx(chance.mean(), abs=0.01)
  for low, high in ((0, 0.2), (0.4, 0.6), (0.8, 1)):
    some = (chance > low) & (chance < high)
    assert some.sum() > 1000
    assert click[some].mean() == pytest.approx(chance[some].mean(), abs=0.03)
  logit = np.log(chance / (1 - chance))
  assert logit.mean() == pytest.approx(-0.5, abs=0.3)
  assert logit.std() == pytest.approx(3, abs=0.3)
  # The same pair has the same chance; only contents are told with an error.
  pairs = {}
  for u, i, p in zip(stream.user_E, stream.item_E, chance, strict=True):
    pairs.setdefault((u, i), set()).add(float(p))
  assert max(map(len, pairs.values())) == 1 < len(pairs)


def test_contents_are_near_what_an_item_is():
  """Without an error the logit is linear in them, user by user."""
  options = {"num_users": 3, "quality": 0.0, "births_per_day": 20, "days": 5}
  exact = GrowingCatalog(**options, content_noise=0.0).draw()
  for user in range(3):
    mine = exact.user_E == user
    v = exact.content_VW[exact.item_E[mine]]
    z = np.append(v, np.ones((len(v), 1)), axis=1)
    chance = exact.chance_E[mine]
    logit = np.log(chance / (1 - chance))
    solved = np.linalg.lstsq(z, logit, rcond=None)[0]
    np.testing.assert_allclose(z @ solved, logit, atol=1e-8)
    assert solved[-1] == pytest.approx(-0.5)
  noisy = GrowingCatalog(**options, content_noise=0.5).draw()
  error = noisy.content_VW - exact.content_VW
  assert error.std() == pytest.approx(0.5, abs=0.05)


def test_tastes_that_drift_are_as_wide_and_no_longer_the_same():
  options = {"num_users": 4, "items_stay": True, "births_per_day": 1}
  options |= {"life_days": 1.0, "visits": 400, "days": 40, "quality": 0.0}
  still = GrowingCatalog(**options).draw()
  moved = GrowingCatalog(**options, drift=0.3).draw()

  def by_day(stream, user):
    logit = np.log(stream.chance_E / (1 - stream.chance_E))
    day = stream.time_E // _DAY
    return [
      set(np.round(logit[(day == d) & (stream.user_E == user)], 9))
      for d in range(40)
    ]

  for user in range(4):
    # One item: of a day and user there is one logit.
    assert len(set.union(*by_day(still, user))) == 1
    days = by_day(moved, user)
    assert {len(d) for d in days} == {1} and len(set.union(*days)) == 40
  # Neighbouring days are alike: the walk's correlation is .954.
  logits = np.array([[*d][0] for d in by_day(moved, 0)])
  assert abs(np.diff(logits)).mean() < abs(logits - logits.mean()).mean() * 1.5


def test_a_seed_is_a_stream():
  first, again = _SMALL.draw(), _SMALL.draw()
  other = dataclasses.replace(_SMALL, seed=1).draw()
  np.testing.assert_array_equal(first.click_E, again.click_E)
  assert len(first) == len(again)
  assert (first.user_E[:500] != other.user_E[:500]).any()


def test_it_is_prepared_as_any_log_is(tmp_path):
  prepare(_SMALL, GlobalTime(), tmp_path / "data", deduplicate=False)
  histories, stream = Histories(tmp_path / "data"), _SMALL.draw()
  catalog = Catalog(tmp_path / "data")
  assert histories.manifest.actions == ["", "click", "skip"]
  clicks = sum((histories[u]["action"] == 1).sum() for u in range(20))
  assert histories.manifest.num_events == len(stream)
  assert clicks == stream.click_E.sum()
  assert catalog.num_items == len(set(stream.item_E.tolist()))
  assert {"content_0", "content_3"} <= set(catalog.attributes.columns)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_users": 0}, "GrowingCatalog.num_users=0 must be at least 1"),
    ({"visits": 0}, "visits=0 must be at least 1, a whole number"),
    ({"drift": 1.0}, "drift=1.0 must be at least 0 and below 1"),
    ({"scale": -1.0}, "scale=-1.0 must be a number of 0 or more"),
    ({"life_days": 0.0}, "leave 0 items at a time; make it one or more"),
    ({"bias": float("nan")}, "bias=nan must be finite"),
  ],
)
def test_worlds_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    GrowingCatalog(**options)
