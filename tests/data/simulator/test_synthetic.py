# SPDX-License-Identifier: Apache-2.0
"""The simulator: seeds, lives of items, sessions, actions, the raw log."""

import datetime
import hashlib
import io
import time

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset import Histories
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import ACTIONS, Synthetic
from genrec_jax.data.simulator.world import TRUTH_FILE, World
from genrec_jax.data.splits import LeaveOneOut

_SMALL = dict(num_users=300, num_items=205, num_categories=7, mean_events=30.0)


@pytest.fixture(scope="module")
def drawn():
  return Synthetic(seed=3, **_SMALL).draw()


def test_the_seed_decides_everything():
  first, again, other = (
    Synthetic(seed=seed, num_users=40, num_items=60).read()
    for seed in (0, 0, 1)
  )
  assert first.events.equals(again.events)
  assert first.items.equals(again.items)
  assert first.extras == again.extras
  assert first.sources == again.sources
  assert not first.events.equals(other.events)
  assert first.extras != other.extras


def test_only_living_items_occur_and_lives_matter(drawn):
  world, columns = drawn
  item_E, time_E = columns["item"], columns["time"]
  assert (time_E >= world.birth_V[item_E]).all()
  assert (time_E < world.death_V[item_E]).all()
  assert (world.birth_V > time_E.min()).mean() > 0.1
  assert (world.death_V < time_E.max()).mean() > 0.05
  # Uneven category sizes: no item of a neighbour is drawn by accident.
  assert len(set(np.diff(world.first_C))) > 1
  assert np.array_equal(
    world.category_V, np.repeat(np.arange(7), np.diff(world.first_C))
  )


def test_users_have_their_number_of_events_in_time_order(drawn):
  world, columns = drawn
  assert np.array_equal(np.bincount(columns["user"]), world.num_events_U)
  assert world.num_events_U.min() >= 5
  assert 20 < world.num_events_U.mean() < 40
  assert world.num_events_U.std() > 10
  same = np.diff(columns["user"]) == 0
  assert (np.diff(columns["time"])[same] > 0).all()


def test_a_gap_tells_whether_a_session_began(drawn):
  world, columns = drawn
  same = np.diff(columns["user"]) == 0
  opens = np.diff(columns["session"])[same]
  gap = np.diff(columns["time"])[same]
  assert set(opens) == {0, 1}
  assert np.array_equal(opens == 1, gap >= world.session_gap_seconds)
  assert opens.mean() == pytest.approx(1 / 5, abs=0.02)
  category_E = world.category_V[columns["item"]]
  stays = (np.diff(category_E) == 0)[same]
  assert stays[opens == 0].mean() > stays[opens == 1].mean() + 0.1


def test_actions_are_a_funnel_and_a_purchase_moves_the_user_on(drawn):
  world, columns = drawn
  views, carts, purchases = np.bincount(columns["action"]) / len(
    columns["action"]
  )
  assert views > carts > purchases > 0.02
  category_E = world.category_V[columns["item"]]
  same = np.diff(columns["user"]) == 0
  stays = (np.diff(category_E) == 0)[same]
  bought = columns["action"][:-1][same] == ACTIONS.index("purchase")
  assert stays[bought].mean() < stays[~bought].mean() - 0.2


def test_popularity_is_skewed_and_tiers_are_followed(drawn):
  world, columns = drawn
  count_V = np.sort(np.bincount(columns["item"], minlength=world.num_items))
  assert count_V[-20:].sum() > 0.25 * count_V.sum()
  same = np.diff(columns["user"]) == 0
  same &= np.diff(world.category_V[columns["item"]]) == 0
  step = np.diff(world.tier_V[columns["item"]].astype(int))[same]
  direction = world.direction_U[columns["user"][:-1]][same]
  assert np.mean(step % world.num_tiers == direction % world.num_tiers) > 0.7


def test_the_raw_log_is_readable_and_complete():
  raw = Synthetic(num_users=40, num_items=100).read()
  assert raw.events["timestamp"].is_sorted()
  assert set(raw.events["action"]) <= set(raw.actions) == set(ACTIONS)
  assert raw.items["title"].n_unique() == len(raw.items) == 100
  assert raw.items.columns == ["item", "title", "category", "price", "birth"]
  price = dict(raw.items.select("item", "price").iter_rows())
  assert all(
    value == price[item]
    for item, value in raw.events.select("item", "value").iter_rows()
  )


@pytest.mark.parametrize(
  "wrong",
  [
    dict(num_users=0),
    dict(num_items=5),
    dict(num_categories=3),
    dict(mean_events=2.0),
    dict(session_length=0.5),
    dict(upward=1.5),
    dict(repeat=0.0),
    dict(season=1.5),
    dict(hidden=-0.1),
    dict(stay=(0.5, 0.2)),
    dict(stay=(0.5, 1.5)),
    dict(stay=()),
    dict(gap_days=(-1.0, 3.0)),
    dict(gap_days=(3.0,)),
  ],
)
def test_impossible_settings_are_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    Synthetic(**wrong)


# Of events, items and the World's whole numbers and names, before there were
# seasons, hidden events and segments. Another hash makes every simulated data
# set another one: stored runs and their figures then belong to none.
_BEFORE = "4d87bc476bf3a4ab27698d2abd638d6780da512915e1ec923b737561dc724803"


def test_without_options_the_log_is_what_it_was(tmp_path):
  source = Synthetic(num_users=40, num_items=60)
  raw = source.read()
  digest = hashlib.sha256()
  for table in (raw.events, raw.items):
    digest.update(table.write_csv().encode())
  with np.load(io.BytesIO(raw.extras[TRUTH_FILE])) as truth:
    for name in sorted(truth.files):
      digest.update(name.encode())
      if truth[name].dtype.kind in "iU":
        digest.update(truth[name].tobytes())
  assert digest.hexdigest() == _BEFORE
  assert raw.users is None and not raw.dropped
  # Nor does a data set prepared before differ from what a config asks for.
  prepare(source, LeaveOneOut(), tmp_path / "data")
  options = Histories(tmp_path / "data").manifest.options["source"]
  assert not {"season", "hidden", "segments"} & set(options)


def test_items_of_the_month_take_their_share():
  raw = Synthetic(seed=1, days=1095, season=0.7, **_SMALL).read()
  month = dict(raw.items.select("item", "month").iter_rows())
  per_month = np.bincount(list(month.values()), minlength=13)[1:]
  assert per_month.max() - per_month.min() <= 1
  now = [
    datetime.datetime.fromtimestamp(t, datetime.UTC).month
    for t in raw.events["timestamp"]
  ]
  assert set(now) == set(range(1, 13))
  fits = np.array([month[i] for i in raw.events["item"]]) == now
  always = Synthetic(num_users=40, num_items=210, season=1.0).draw()
  month_E = always[0].month_V[always[1]["item"]] + 1
  assert [
    datetime.datetime.fromtimestamp(t, datetime.UTC).month
    for t in always[1]["time"].tolist()
  ] == month_E.tolist()
  # Others are of the month by chance, and in some months little is alive.
  assert fits.mean() == pytest.approx(0.7 + 0.3 / 12, abs=0.03)
  plain = Synthetic(seed=1, days=1095, **_SMALL).read()
  assert "month" not in plain.items.columns
  assert (
    np.mean(
      [month[i] == m for i, m in zip(plain.events["item"], now, strict=True)]
    )
    < 0.2
  )


def test_last_two_events_come_after_a_gap_and_the_others_within_a_stay():
  settings = dict(seed=4, num_users=60, num_items=60, days=1000)
  settings |= dict(mean_events=12.0, min_events=1)
  world, columns = Synthetic(
    stay=(0.05, 0.05), gap_days=(90.0, 270.0), **settings
  ).draw()
  day = 86_400
  for user, count in enumerate(world.num_events_U):
    gaps = np.diff(columns["time"][columns["user"] == user])
    late = gaps[max(count - 3, 0) :]
    assert (late >= 90 * day).all() and late.max(initial=0) < 520 * day
    assert gaps[: max(count - 3, 0)].sum() < 250 * day
  _, whole = Synthetic(stay=(0.9, 1.0), **settings | {"days": 365}).draw()
  _, part = Synthetic(**settings | {"days": 365}).draw()
  spans = [
    np.mean([np.ptp(c["time"][c["user"] == u]) for u in range(60)])
    for c in (whole, part)
  ]
  assert spans[0] > 2 * spans[1]


def test_hidden_events_are_those_that_the_log_lacks():
  settings = dict(seed=2, num_users=80, num_items=100, min_events=1)
  settings |= dict(mean_events=12.0)
  whole = Synthetic(**settings).read()
  source = Synthetic(hidden=0.4, **settings)
  world, columns = source.draw()
  raw = source.read()
  key = ("user", "item", "timestamp")
  logged, every = (set(r.events.select(key).iter_rows()) for r in (raw, whole))
  gone = {
    (str(world.user_ids[u]), str(world.item_ids[i]), int(t))
    for u, i, t in zip(
      world.hidden_user_H, world.hidden_item_H, world.hidden_time_H, strict=True
    )
  }
  assert gone == every - logged and logged < every
  assert len(columns["item"]) == len(raw.events) == len(logged)
  bought = whole.events.filter(pl.col("action") == "purchase").select(key)
  assert world.hidden_purchase_H.sum() == len(gone & set(bought.iter_rows()))
  # Of each user's events but the last two, about that share.
  may = np.maximum(world.num_events_U - 2, 0).sum()
  assert len(gone) / may == pytest.approx(0.4, abs=0.06)
  for user in world.user_ids:
    times = [
      r.events.filter(pl.col("user") == user)["timestamp"].to_list()[-2:]
      for r in (whole, raw)
    ]
    assert times[0] == times[1]
  assert np.array_equal(
    world.hidden_count(), np.bincount(world.hidden_user_H, minlength=80)
  )


def test_the_world_with_all_options_is_stored_whole(tmp_path):
  source = Synthetic(num_users=20, num_items=30, season=0.5, hidden=0.5)
  world, _ = source.draw()
  path = tmp_path / TRUTH_FILE
  path.write_bytes(source.read().extras[TRUTH_FILE])
  again = World.from_file(path)
  for name, value in vars(world).items():
    np.testing.assert_array_equal(getattr(again, name), value)
  user = int(world.hidden_user_H[-1])
  times = world.hidden_time_H[world.hidden_user_H == user]
  assert len(times) > 1
  found = again.hidden_before(user, int(times[1]))
  assert world.hidden_time_H[found].tolist() == [times[0]]


def test_segments_are_columns_of_the_tables(tmp_path):
  source = Synthetic(num_users=90, num_items=60, segments=True)
  raw, plain = source.read(), Synthetic(num_users=90, num_items=60).read()
  assert raw.events.equals(plain.events)
  assert raw.items.drop("freshness").equals(plain.items)
  first = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC).timestamp()
  for birth, fresh in raw.items.select("birth", "freshness").iter_rows():
    days = (birth - first) / 86_400
    assert fresh == ("old" if days < 0 else "early" if days < 182.5 else "late")
  assert raw.items["freshness"].n_unique() == 3
  activity = dict(raw.users.iter_rows())
  events = dict(raw.events.group_by("user").len().iter_rows())
  by = {
    name: [events[u] for u in events if activity[u] == name]
    for name in ("low", "medium", "high")
  }
  assert (
    max(by["low"]) < min(by["medium"]) <= max(by["medium"]) < min(by["high"])
  )
  assert all(25 <= len(x) <= 35 for x in by.values())


@pytest.mark.slow
def test_the_default_size_takes_seconds():
  started = time.process_time()
  raw = Synthetic().read()
  assert time.process_time() - started < 20
  assert 450_000 < raw.events.height < 550_000
