# SPDX-License-Identifier: Apache-2.0
"""What is served is what is said offline, by trained parameters.

The run is the stored one (tests/stored), so programs are XLA's: online lists
come from batches of 1 and 4 on one device, offline ones from batches of 64 on
all of them.
"""

import asyncio
import dataclasses
import warnings

import jax
import numpy as np
import polars as pl
import pytest

import genrec_jax
from genrec_jax.core import finite
from genrec_jax.service import engine as engines, golden
from genrec_jax.service.opening import Source, open_source
from genrec_jax.service.service import Service, ServiceOptions
from genrec_jax.service.shapes import Shapes
from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.wire import Rank, Recommend, SentEvent
from tests.service.fakes import STORED

_SHAPES = Shapes(batches=(1, 4), lists=(8, 38), histories=(1, 17))


@pytest.fixture(scope="module")
def offline():
  return genrec_jax.load(STORED)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
  made = Service(
    SqliteStore(tmp_path_factory.mktemp("store") / "events"),
    options=ServiceOptions(deadline_seconds=30.0, num_golden=6),
    # So that what is asked together is answered together.
    engine=engines.EngineOptions(max_wait_seconds=0.05),
    shapes=_SHAPES,
  )
  made.start()
  made.load("v1", Source(str(STORED)), promote=True)
  yield made
  made.close(5.0)


def _together(service, bodies):
  async def ask():
    return await asyncio.gather(*map(service.recommend, bodies))

  return asyncio.run(ask())


def _same(answer, table):
  """Ids up to ties of 1e-5, scores to 1e-5."""
  items = answer["items"]
  expected = table["score"].to_numpy()
  assert len(items) == len(table)
  found = [item["score"] for item in items]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  ids = table["item_id"].to_list()
  for place, item in enumerate(items):
    if item["id"] != ids[place]:
      other = ids.index(item["id"]) if item["id"] in ids else -1
      assert abs(expected[other] - expected[place]) < 2e-5


def test_online_is_offline_for_everybody_and_any_batch_mates(service, offline):
  data, catalog = offline.histories, offline.catalog
  epoch, users = data.manifest.epoch_seconds, offline.users.ids
  draw = np.random.default_rng(0)
  histories = {}
  # Every third user has new events, some of them late ones.
  for place in range(0, 30, 3):
    user, record = users[place], data[place]
    table = pl.DataFrame(
      {
        "item_id": [catalog.ids[i] for i in record["item"]],
        "action": [data.manifest.actions[a] for a in record["action"]],
        "time": record["time"].astype(np.int64) + epoch,
      }
    )
    times = table["time"].to_list()
    seconds = [times[-1] + 40, int(draw.choice(times)) + 1, times[-1] + 7]
    new = pl.DataFrame(
      {
        "item_id": draw.choice(catalog.ids[1:], 3).tolist(),
        "action": draw.choice(["view", "cart", "purchase"], 3).tolist(),
        "time": seconds,
      }
    )
    sent = [
      SentEvent(
        event_id=f"{user} {n}",
        user_id=user,
        item=row["item_id"],
        action=row["action"],
        time=row["time"],
      )
      for n, row in enumerate(new.iter_rows(named=True))
    ]
    assert asyncio.run(service.add_events(sent)) == ["accepted"] * 3
    histories[user] = pl.concat([table, new]).sort("time", maintain_order=True)
  deleted = users[4]
  asyncio.run(service.forget(deleted))
  asked = [*users, "a stranger"] * 2
  bodies = [
    Recommend(user_id=user, k=int(draw.choice([1, 5, 20])))
    for user in draw.permutation(asked).tolist()
  ]
  answers = _together(service, bodies)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for body, answer in zip(bodies, answers, strict=True):
      user = body.user_id
      whom = "nobody" if user == deleted else user
      table = offline.recommend(whom, histories.get(user), k=body.k)
      _same(answer, table)
      cold = whom not in users
      assert answer["reason"] == ("unknown_user" if cold else None)
  sizes = service.metrics.registry.get_sample_value("genrec_batch_size_sum")
  count = service.metrics.registry.get_sample_value("genrec_batch_size_count")
  assert sizes / count > 2, "nobody had batch mates"


def test_scores_of_given_items_are_those_of_the_list(service, offline):
  user = offline.users.ids[1]
  table = offline.recommend(user, k=30, filter_history=False)
  candidates = table["item_id"].to_list()[::-1]
  body = Rank(user_id=user, candidates=candidates)
  answer = asyncio.run(service.rank(body))
  found = [item["score"] for item in answer["items"]]
  np.testing.assert_allclose(
    found, table["score"].to_numpy()[::-1], rtol=1e-5, atol=1e-5
  )


def test_nothing_is_compiled_once_it_is_ready(service, offline):
  ids, users = offline.catalog.ids, offline.users.ids
  before = service.compilations.total
  draw = np.random.default_rng(1)
  bodies = []
  for n in range(60):
    body = {"k": int(draw.integers(1, 40)), "user_id": users[n % 30]}
    if n % 4 == 1:
      history = draw.choice(ids[1:], draw.integers(0, 60)).tolist()
      body = {"k": body["k"], "history": history}
    if n % 3 == 0:
      body["exclude"] = draw.choice(ids[1:], 20, replace=False).tolist()
    if n % 5 == 0:
      body["allow"] = draw.choice(ids[1:], 3, replace=False).tolist()
    bodies.append(Recommend(**body))
  assert len(_together(service, bodies)) == 60
  for count in (1, 7, 33):
    body = Rank(user_id=users[0], candidates=ids[1 : 1 + count])
    asyncio.run(service.rank(body))
  assert service.compilations.total == before
  assert service.compilations.of_thread(engines.THREAD) == 0
  # What would be compiled is noticed.
  jax.jit(lambda x: x * 3 + before)(
    np.zeros(7 + before % 50)
  ).block_until_ready()
  assert service.compilations.total > before


def test_golden_answers_tell_another_model_apart():
  source = Source(str(STORED))
  opened = open_source(source, _SHAPES, num_golden=5)
  assert len(opened.golden) == 5
  assert golden.check(opened.served, opened.golden) < 1e-5
  one = opened.golden[2]
  for wrong, said in (
    (
      dataclasses.replace(one, scores=tuple(s + 0.01 for s in one.scores)),
      "place 1",
    ),
    (dataclasses.replace(one, items=one.items[::-1]), "offline"),
  ):
    with pytest.raises(ValueError, match=f"parity: .*{said}"):
      golden.check(opened.served, (*opened.golden, wrong))
  # Items that tie may stand in any order.
  tied = dataclasses.replace(one, items=one.items[:1])
  tied = dataclasses.replace(tied, scores=one.scores[:1])
  assert golden.check(opened.served, (tied,)) < 1e-5


def test_parameters_that_are_no_numbers_are_not_loaded(
  service, monkeypatch, offline
):
  def broken(run, checkpoint):
    raise finite.NotFinite("the checkpoint holds values that are not finite")

  monkeypatch.setattr("genrec_jax.serving.loading.load_params", broken)
  with pytest.raises(ValueError, match="not finite"):
    service.load("v2", Source(str(STORED)))
  with pytest.raises(ValueError, match="holds no run"):
    service.load("v2", Source(str(STORED.parent)))
  user = offline.users.ids[2]
  assert _together(service, [Recommend(user_id=user)])[0]["model"] == "v1"
