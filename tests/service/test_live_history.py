# SPDX-License-Identifier: Apache-2.0
"""Histories of the data set and of the store as one, against plain lists."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.service.live_history import LiveHistories, latest, merged
from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.store import Event
from tests.service.fakes import histories


@pytest.fixture
def store(tmp_path):
  with SqliteStore(tmp_path / "store") as found:
    yield found


def _live(store, **options):
  data = histories()
  return LiveHistories(
    data, Catalog(data.directory), Users(data.directory), store, **options
  )


def _rows(record):
  names = ("time", "item", "action")
  return list(zip(*(record[n].tolist() for n in names), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_events_lie_where_their_times_say(store, seed):
  draw = np.random.default_rng(seed)
  data = histories()
  catalog, users = Catalog(data.directory), Users(data.directory)
  base, epoch = data[seed], data.manifest.epoch_seconds
  events = []
  for n in range(15):
    at = int(draw.choice(base["time"])) + int(draw.integers(-1, 2))
    item = catalog.ids[draw.integers(1, 9)]
    action = ["view", "cart", "nobody knows it"][draw.integers(3)]
    micro = (at + epoch) * 10**6 + int(draw.integers(10**6))
    events.append(Event(f"e{n:02}", users.ids[seed], item, action, micro))
  events.append(Event("x", users.ids[seed], "no item", "view", micro))
  store.append([events[n] for n in draw.permutation(len(events))])
  known = _live(store).of(users.ids[seed])
  # Sorted by time; at one time the data's own first, then by time and id.
  rows = [(t, 0, i, row) for i, row in enumerate(_rows(base)) for t in row[:1]]
  vocabulary = data.manifest.actions
  for event in sorted(events, key=lambda e: (e.microseconds, e.event_id)):
    if event.item == "no item":
      continue
    at = event.microseconds // 10**6 - epoch
    place = vocabulary.index(event.action) if event.action in vocabulary else 0
    row = (at, catalog.index_of(event.item), place)
    # One that the data have is one event.
    if row not in _rows(base):
      rows.append((at, 1, len(rows), row))
  expected = [row for *_, row in sorted(rows)]
  assert _rows(known.record) == expected
  assert known.unknown_items == 1 and known.is_known
  assert known.record["user"] == seed
  for name, array in base.items():
    assert known.record[name].dtype == array.dtype
  # Requests: as they were, but that each new event is one of its own.
  numbers = known.record["request"]
  assert (np.diff(numbers) >= 0).all() and set(np.diff(numbers)) <= {0, 1}


def test_a_user_whom_only_the_store_knows(store):
  data = histories()
  epoch, item = data.manifest.epoch_seconds, Catalog(data.directory).ids[3]
  live = _live(store)
  assert not live.of("new").is_known
  store.append([Event("a", "new", item, "", epoch * 10**6, 4.0)])
  known = live.of("new")
  assert known.record["item"].tolist() == [3] and known.record["user"] == -1
  assert known.record["time"].tolist() == [0]
  assert known.record["value"].tolist() == [4.0]
  made = record_of_items(data.manifest, [3])
  assert known.record.keys() == made.keys()


def test_who_is_forgotten_starts_anew(store):
  data = histories()
  user, item = Users(data.directory).ids[0], Catalog(data.directory).ids[5]
  live = _live(store)
  assert len(live.of(user).record["item"]) == len(data[0]["item"])
  store.forget(user)
  known = live.of(user)
  assert not len(known.record["item"]) and known.record["user"] == -1
  assert not known.is_known
  store.append([Event("later", user, item, "view", 5 * 10**15)])
  # Beyond 2^31 seconds of the first event: no time of this data set.
  assert not len(live.of(user).record["item"])
  micro = (data.manifest.epoch_seconds + 7) * 10**6
  store.append([Event("now", user, item, "view", micro)])
  assert live.of(user).record["item"].tolist() == [5]


def test_events_have_what_the_data_have_scenes_and_no_times(store):
  data = histories()
  catalog, base = Catalog(data.directory), data[1]
  count = len(base["item"])
  # Behind the last second that int32 holds, where nobody reads it.
  events = [Event("a", "u", catalog.ids[3], "", 2**31 * 10**6)]
  untimed = dataclasses.replace(
    data.manifest,
    fields={"item": "int32", "scene": "int32"},
    epoch_seconds=None,
    scenes=["", "1"],
  )
  scene = np.ones(count, np.int32)
  record = {"user": base["user"], "item": base["item"], "scene": scene}
  for before in (None, record):
    found, unknown = merged(before, events, untimed, catalog, {}, 5000)
    assert found.keys() == record.keys() and unknown == 0
    assert found["item"][-1] == 3
    shown = [] if before is None else [1] * count
    assert found["scene"].tolist() == [*shown, 0]
    assert found["scene"].dtype == np.int32


def test_a_record_has_the_latest_events(store):
  data = histories()
  whole = _live(store).of(Users(data.directory).ids[2]).record
  part = _live(store, most_events=3).of(Users(data.directory).ids[2]).record
  assert _rows(part) == _rows(whole)[-3:]
  assert _rows(latest(whole, 10**6)) == _rows(whole)


def test_of_what_the_store_has_nobody_knows_the_scene():
  data = histories()
  catalog, manifest = Catalog(data.directory), data.manifest
  fields = {**manifest.fields, "scene": "int32"}
  manifest = dataclasses.replace(manifest, fields=fields, scenes=["", "0", "1"])
  count = len(data[0]["item"])
  known = {**data[0], "scene": np.full(count, 2, np.int32)}
  seconds = int(known["time"][-1]) + manifest.epoch_seconds + 60
  event = Event("a", "u", catalog.ids[3], "", seconds * 10**6)
  for base, before in ((known, [2] * count), (None, [])):
    record, _ = merged(base, [event], manifest, catalog, {}, 10**6)
    assert record["scene"].tolist() == [*before, 0]
    assert set(record) == {*fields, "user"}
