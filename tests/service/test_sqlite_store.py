# SPDX-License-Identifier: Apache-2.0
"""The store against a dict, a full disk, a second service and SIGKILL."""

import os
import pathlib
import random
import signal
import subprocess
import sys

from hypothesis import given, settings, strategies as st
import pytest

from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.store import (
  ACCEPTED,
  CONFLICT,
  DUPLICATE,
  TOO_OLD,
  Event,
  ItemState,
  NotStored,
)

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _event(n, user="u", second=0, item="i", **more):
  return Event(f"e{n}", user, item, "view", second * 10**6, **more)


def _key(event):
  return event.microseconds, event.event_id


class _Model:
  """What the store should be, as a dict by id; `most` events of a user."""

  def __init__(self, most):
    self.most, self.events, self.gone, self.hidden = most, {}, set(), {}

  def append(self, events):
    first = {}
    for event in events:
      hidden = self.hidden.get(event.user, -1)
      if event.event_id in self.gone or event.microseconds <= hidden:
        first[len(first)] = DUPLICATE
      elif event.event_id in self.events:
        same = self.events[event.event_id] == event
        first[len(first)] = DUPLICATE if same else CONFLICT
      else:
        self.events[event.event_id] = event
        first[len(first)] = ACCEPTED
    for user in {event.user for event in events}:
      for old in self.history(user)[: -self.most]:
        del self.events[old.event_id]
    return [
      TOO_OLD
      if out == ACCEPTED and events[n].event_id not in self.events
      else out
      for n, out in first.items()
    ]

  def history(self, user):
    mine = [e for e in self.events.values() if e.user == user]
    return sorted(mine, key=_key)

  def forget(self, user):
    mine = self.history(user)
    self.gone |= {event.event_id for event in mine}
    # Older ones may have been there, and nobody knows which.
    until = mine[0].microseconds if len(mine) == self.most else -1
    self.hidden[user] = max(until, self.hidden.get(user, -1))
    for event in mine:
      del self.events[event.event_id]
    return len(mine)


_EVENTS = st.builds(
  Event,
  st.sampled_from([f"e{n}" for n in range(12)]),
  st.sampled_from(["u", "v"]),
  st.sampled_from(["i", "j"]),
  st.just("view"),
  st.integers(0, 4).map(lambda s: s * 10**6),
  st.sampled_from([None, 1.0]),
)
_STEPS = st.lists(
  st.one_of(st.lists(_EVENTS, min_size=1, max_size=6), st.sampled_from("uv")),
  max_size=8,
)


@settings(max_examples=40)
@given(steps=_STEPS)
def test_it_is_a_dict_whatever_is_done(tmp_path_factory, steps):
  path = tmp_path_factory.mktemp("dict") / "store"
  model = _Model(most=4)
  with SqliteStore(path, most_events=4) as store:
    for step in steps:
      if isinstance(step, str):
        assert store.forget(step) == model.forget(step)
      else:
        assert store.append(step) == model.append(step)
      for user in "uv":
        told = store.history(user)
        assert list(told.events) == model.history(user)
        assert told.forgotten == (user in model.hidden)


def test_the_order_of_arrival_and_repetitions_do_not_matter(tmp_path):
  events = [_event(n, second=n // 3) for n in range(20)]
  found = []
  for seed in range(4):
    draw = random.Random(seed)
    with SqliteStore(tmp_path / str(seed), most_events=7) as store:
      sent = draw.sample(events, 20) + draw.choices(events, k=20)
      while sent:
        store.append(sent[:3])
        sent = sent[3:]
      found.append(store.history("u").events)
  assert found[0] == tuple(sorted(events, key=_key)[-7:])
  assert found.count(found[0]) == 4


def test_a_log_that_is_sent_again_does_not_bring_the_deleted_back(tmp_path):
  events = [_event(n, second=n) for n in range(20)]
  with SqliteStore(tmp_path / "store", most_events=7) as store:
    store.append(events)
    assert store.append([_event(99)]) == [TOO_OLD]
    assert store.forget("u") == 7
    assert store.append([*events, _event(99)]) == [DUPLICATE] * 21
    assert store.history("u").events == ()
    # What is new counts, and so do others' events of any time.
    assert store.append([_event(100, second=15)]) == [ACCEPTED]
    assert store.append([_event(101, user="v")]) == [ACCEPTED]
    # Few are there now, and it stays as it was.
    assert store.forget("u") == 1
    assert store.append([*events, _event(100, second=15)]) == [DUPLICATE] * 21


def test_what_was_kept_is_there_after_a_restart(tmp_path):
  path = tmp_path / "store"
  with SqliteStore(path) as store:
    store.append([_event(1), _event(2, user="v", value=2.0)])
    store.forget("u")
    store.put_items({"é": ItemState(True, {"colour": "rød"})})
  with SqliteStore(path) as store:
    assert store.history("v").events == (_event(2, user="v", value=2.0),)
    assert store.history("u").forgotten and not store.history("u").events
    # One that is sent again does not bring the user back.
    assert store.append([_event(1)]) == [DUPLICATE]
    assert store.items() == {"é": ItemState(True, {"colour": "rød"})}


def test_a_deleted_user_is_not_in_the_files(tmp_path):
  path = tmp_path / "store"
  with SqliteStore(path) as store:
    user = "somebody-with-a-name"
    store.append([_event(n, user=user) for n in range(50)])
    files = [*tmp_path.iterdir()]
    assert any(user.encode() in file.read_bytes() for file in files)
    assert store.forget(user) == 50
    for file in tmp_path.iterdir():
      assert user.encode() not in file.read_bytes(), file


def test_a_full_disk_refuses_writes_and_nothing_else(tmp_path):
  with SqliteStore(tmp_path / "store", most_bytes=150_000) as store:
    kept = 0
    with pytest.raises(NotStored, match="full"):
      for n in range(0, 100_000, 100):
        store.append([_event(m, item="i" * 50) for m in range(n, n + 100)])
        kept += 100
    assert 0 < kept < 5000
    # All of a batch or none of it.
    assert len(store.history("u").events) == kept
    with pytest.raises(NotStored):
      store.append([_event(10**6 + m, item="i" * 400) for m in range(500)])
    assert len(store.history("u").events) == kept
    assert store.forget("u") == kept
    assert store.append([_event(10**7)]) == [ACCEPTED]


def test_two_services_on_one_store_are_refused(tmp_path):
  with SqliteStore(tmp_path / "store"):
    with pytest.raises(ValueError, match=f"another service.*{os.getpid()}"):
      SqliteStore(tmp_path / "store")
  SqliteStore(tmp_path / "store").close()


def test_what_is_no_store_is_refused(tmp_path):
  path = tmp_path / "store"
  path.write_bytes(b"a text, and no database at all" * 200)
  for _ in range(2):
    with pytest.raises(ValueError, match="cannot be opened .*--store"):
      SqliteStore(path)
  with pytest.raises(ValueError, match="most_events=0"):
    SqliteStore(tmp_path / "other", most_events=0)


_WRITER = """
import sys
from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.store import Event
store, n = SqliteStore(sys.argv[1], most_events=10**6), 0
while True:
  store.append([Event(f"e{n}", "u", "i", "", n)])
  print(n, flush=True)
  n += 1
"""


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path):
  path = tmp_path / "store"
  writer = subprocess.Popen(
    [sys.executable, "-c", _WRITER, str(path)],
    stdout=subprocess.PIPE,
    cwd=_ROOT,
  )
  for _ in range(30):
    assert writer.stdout.readline()
  writer.send_signal(signal.SIGKILL)
  rest = writer.stdout.read().split()
  writer.stdout.close()
  assert writer.wait() == -signal.SIGKILL
  acknowledged = 30 + len([line for line in rest if line.isdigit()])
  # The lock went with its process.
  with SqliteStore(path, most_events=10**6) as store:
    ids = [event.event_id for event in store.history("u").events]
  assert ids[:acknowledged] == [f"e{n}" for n in range(acknowledged)]
  assert len(ids) <= acknowledged + 1
