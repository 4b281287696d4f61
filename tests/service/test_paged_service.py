# SPDX-License-Identifier: Apache-2.0
"""A service with a cache of histories over a trained run, beside its offline
lists: events that come in, late ones, deletion, versions, metrics."""

import asyncio
import warnings

import numpy as np
import polars as pl
import pytest

import genrec_jax
from genrec_jax.service import engine as engines
from genrec_jax.service.opening import Source
from genrec_jax.service.paged_cache import PagedCache
from genrec_jax.service.paged_reader import PagedOptions
from genrec_jax.service.service import Service, ServiceOptions
from genrec_jax.service.shapes import Shapes
from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.wire import Recommend, SentEvent
from tests.service.fakes import STORED

_SHAPES = Shapes(batches=(4,), lists=(8, 38), histories=(1, 17))
_NEW = "a new one"


@pytest.fixture(scope="module")
def offline():
  return genrec_jax.load(STORED)


@pytest.fixture(scope="module")
def cache():
  return PagedCache(PagedOptions(1.0, page=4, new=(8,)), _SHAPES)


@pytest.fixture(scope="module")
def service(tmp_path_factory, cache):
  made = Service(
    SqliteStore(tmp_path_factory.mktemp("store") / "events"),
    options=ServiceOptions(deadline_seconds=30.0, num_golden=4),
    engine=engines.EngineOptions(max_wait_seconds=0.0),
    shapes=_SHAPES,
    cache=cache,
  )
  made.start()
  # Its golden lists are those of pages, and of offline.
  made.load("v1", Source(str(STORED)), promote=True)
  yield made
  made.close(5.0)


class _User:
  """Somebody whose events are sent, and what is said offline of them."""

  def __init__(self, service, offline):
    self.service, self.offline, self.events = service, offline, []

  def send(self, place, item, seconds):
    """An event, which lies at a place of the history."""
    epoch = self.offline.histories.manifest.epoch_seconds
    event = (self.offline.catalog.ids[item], "view", epoch + seconds)
    self.events.insert(place, event)
    sent = SentEvent(
      event_id=f"{len(self.events)}",
      user_id=_NEW,
      item=event[0],
      action=event[1],
      time=event[2],
    )
    assert asyncio.run(self.service.add_events([sent])) == ["accepted"]

  def ask(self, **more):
    """(hit, new) of a list, which is that of offline."""
    body = Recommend(user_id=_NEW, k=7, **more)
    answer = asyncio.run(self.service.recommend(body))
    columns = ("item_id", "action", "time")
    table = pl.DataFrame(self.events, schema=columns, orient="row")
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      expected = self.offline.recommend("nobody", table, k=7)
    found = [item["score"] for item in answer["items"]]
    np.testing.assert_allclose(
      found, expected["score"].to_numpy(), rtol=1e-5, atol=1e-5
    )
    assert answer["reason"] is None
    return answer["cache"]["hit"], answer["cache"]["new"]


def _value(service, name, **labels):
  return service.metrics.registry.get_sample_value(name, labels)


def test_lists_from_pages_are_those_of_offline(service, offline, cache):
  user = _User(service, offline)
  for number in range(7):
    user.send(number, 3 + number, 1000 * number)
  compiled = service.compilations.of_thread(engines.THREAD)
  assert user.ask() == (0, 7)
  assert user.ask() == (6, 1)
  user.send(7, 20, 9000)
  assert user.ask() == (6, 2)
  # The page of the event before the late one is another one too.
  user.send(6, 30, 5500)
  assert user.ask() == (4, 5)
  assert service.compilations.of_thread(engines.THREAD) == compiled == 0
  outcomes = {"hit": 3.0, "absent": 1.0}
  for outcome, count in outcomes.items():
    name = "genrec_cache_requests_total"
    assert _value(service, name, outcome=outcome) == count
  name = "genrec_cache_events_total"
  assert _value(service, name, kind="hit") == 6 + 6 + 4
  assert _value(service, name, kind="new") == 7 + 1 + 2 + 5
  used = _value(service, "genrec_cache_pages_used")
  assert asyncio.run(service.forget(_NEW)) == 9
  assert _value(service, "genrec_cache_pages_used") == used - 2
  answer = asyncio.run(service.recommend(Recommend(user_id=_NEW, k=3)))
  assert answer["reason"] == "unknown_user"
  name = "genrec_cache_requests_total"
  assert _value(service, name, outcome="no_model") == 1


def test_what_if_is_nobodys_history(service, offline):
  user = offline.users.ids[2]
  body = Recommend(user_id=user, what_if="-1=removed")
  for _ in range(2):
    answer = asyncio.run(service.recommend(body))
    assert answer["cache"]["hit"] == 0


def test_a_version_that_is_not_taken_leaves_no_pages(service, cache):
  before = cache.figures()["pages"]
  with pytest.raises(ValueError, match="holds no run"):
    service.load("v2", Source(str(STORED.parent)))
  assert cache.figures()["pages"] == before > 0
