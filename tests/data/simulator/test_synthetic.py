# SPDX-License-Identifier: Apache-2.0
"""The simulator: seeds, lives of items, sessions, actions, the raw log."""

import time

import numpy as np
import pytest

from genrec_jax.data.simulator.synthetic import ACTIONS, Synthetic

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
  ],
)
def test_impossible_settings_are_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    Synthetic(**wrong)


@pytest.mark.slow
def test_the_default_size_takes_seconds():
  started = time.process_time()
  raw = Synthetic().read()
  assert time.process_time() - started < 20
  assert 450_000 < raw.events.height < 550_000
