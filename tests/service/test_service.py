# SPDX-License-Identifier: Apache-2.0
"""What holds between parts: golden answers, the cache, versions that go."""

import pytest

from genrec_jax.service.app import create_app
from genrec_jax.service.engine import EngineOptions
from genrec_jax.service.golden import Golden
from genrec_jax.service.ladder import Ladder
from genrec_jax.service.opening import Opened, Source
from genrec_jax.service.refused import Refused
from genrec_jax.service.service import Service, ServiceOptions
from genrec_jax.service.sqlite_store import SqliteStore
from tests.service import fakes
from tests.service.fakes import NUM_ITEMS, expected, ids_of


def test_a_version_that_answers_otherwise_is_not_taken(make, known):
  users, ids, data = known
  service, client = make()
  record = data[3]
  last, right = int(record["item"][-1]), expected(ids, record, 5)
  scores = [-abs(ids.index(item) - last - 1.0) for item in right]
  true = Golden(users[3], tuple(right), tuple(scores))
  wrong = Golden(users[3], tuple(right[::-1]), tuple(scores))

  def opener(source, shapes, *, name, num_golden):
    kept = wrong if source.workdir == "wrong" else true
    return Opened(fakes.served(name=name), (kept,))

  service._open = opener
  answer = client("POST", "/v1/models/v2/load", {"workdir": "wrong"})
  assert answer.status_code == 422 and "parity" in answer.json()["detail"]
  assert [v.name for v in service.versions.loaded()] == ["v1"]
  answer = client("POST", "/v1/models/v2/load", {"workdir": "right"})
  assert answer.json() == {"name": "v2", "parity": 0.0}
  told = client("GET", "/v1/models").json()["models"]
  # Of the first one there was nothing to compare, which is no parity.
  assert [one["parity"] for one in told] == [None, 0.0]


class _Cache:
  """Notes what it is told, and keeps nothing."""

  def __init__(self):
    self.told = []

  def changed(self, user, microseconds):
    self.told.append(("changed", user, microseconds))

  def forget(self, user):
    self.told.append(("forget", user))

  def retire(self, model):
    self.told.append(("retire", model))

  def open(self, model, reading):
    self.told.append(("open", model))
    return reading

  def figures(self):
    return {}


def test_a_cache_is_told_of_all_that_changes(tmp_path, known):
  users, ids, data = known
  cache = _Cache()

  def opener(source, shapes, *, name, num_golden):
    return Opened(fakes.served(name="nobody"), ())

  service = Service(
    SqliteStore(tmp_path / "store"),
    options=ServiceOptions(most_versions=2, deadline_seconds=20.0),
    shapes=fakes.SHAPES,
    cache=cache,
    opener=opener,
  )
  service.start()
  try:
    service.load("v1", Source("w"), promote=True)
    client = fakes.Client(create_app(service))
    answer = client.recommend(user_id=users[0])
    count = len(data[0]["item"])
    assert answer["cache"] == {"hit": 0, "new": count}
    event = {"event_id": 1, "user_id": "u", "item": ids[1], "time": 1.7e9}
    client("POST", "/v1/events", [event])
    client("DELETE", "/v1/users/u")
    service.load("v2", Source("w"))
    service.load("v3", Source("w"))
  finally:
    service.close(5.0)
  assert cache.told == [
    ("open", "v1"),
    ("changed", "u", 1_700_000_000 * 10**6),
    ("forget", "u"),
    ("open", "v2"),
    ("open", "v3"),
    ("retire", "v2"),
  ]


def test_nothing_stays_of_versions_that_are_gone(make):
  service, client = make()
  for n in range(2, 9):
    service.load(f"v{n}", Source("formula"))
  names = {version.name for version in service.versions.loaded()}
  assert names == {"v1", "v6", "v7", "v8"} == service._items.keys()
  answer = client("POST", "/v1/recommend", {"model": "v2"})
  assert answer.status_code == 404
  gone = service.versions.get("v6")
  service.load("v9", Source("formula"))
  # Somebody may hold it still.
  service._items_of(service.versions.get("v7"))
  with pytest.raises(Refused) as refused:
    service._items_of(gone)
  assert refused.value.status == 404
  for n in (8, 7, 9):
    service.promote(f"v{n}", 0.2)

  def refuse(*args, **more):
    raise AssertionError("opened for nothing")

  service._open = refuse
  with pytest.raises(Refused, match="in use"):
    service.load("v10", Source("formula"))


@pytest.mark.parametrize("step", ["short_history", "popular"])
def test_masks_hold_on_every_step_of_the_ladder(make, known, step):
  _, ids, _ = known
  fills = {"short_history": (0.0, 2.0, 2.0, 2.0), "popular": (0.0,) * 4}[step]
  options = EngineOptions(max_wait_seconds=0.0, ladder=Ladder(fills))
  _, client = make(engine=options)
  client("PUT", "/v1/items", [{"id": ids[9], "dead": True}])
  # The first ones are no more read, and still seen.
  history = [ids[n] for n in (8, 7, *range(20, 37), 6)]
  body = {"history": history, "exclude": [ids[10]], "k": 50}
  answer = client.recommend(**body)
  assert answer["reason"] == f"load:{step}" and answer["degraded"]
  there = {ids[n] for n in range(1, NUM_ITEMS + 1)}
  hidden = {*history, ids[9], ids[10]}
  assert {*ids_of(answer)} == there - hidden
  allow = [ids[n] for n in (5, 7, 9, 10, 11)]
  answer = client.recommend(**body, allow=allow)
  assert {*ids_of(answer)} == {ids[5], ids[11]}
  if step == "short_history":
    assert ids_of(answer) == [ids[5], ids[11]]
