# SPDX-License-Identifier: Apache-2.0
"""A service over stored data whose model is a formula, and a client of it.

The model puts the item behind the last one first: item v scores -|v - last - 1|
by index, so every list can be read off. It is NumPy alone: nothing compiles.
"""

import asyncio
import pathlib

import httpx
import numpy as np

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.service.engine import EngineOptions
from genrec_jax.service.opening import Opened, Source
from genrec_jax.service.served import Served
from genrec_jax.service.service import Service, ServiceOptions
from genrec_jax.service.shapes import Shapes
from genrec_jax.service.sqlite_store import SqliteStore

STORED = pathlib.Path(__file__).resolve().parents[1] / "stored" / "run"
NUM_ITEMS = 38
SHAPES = Shapes(
  batches=(1, 4), lists=(8, 64), histories=(1, 17), most_candidates=50
)


def histories() -> Histories:
  """30 users, 38 items; actions '', view, cart, purchase."""
  return Histories(STORED / "data")


class NextNumber:
  """The search; `before(requests)` may raise or wait, `seen` counts rows."""

  def __init__(self, num_items, before=None):
    self.num_items, self.before, self.seen = num_items, before, []

  def __call__(self, requests, k, allowed):
    self.seen.append([int(r["item"][-1]) for r in requests.history])
    if self.before is not None:
      self.before(requests)
    ids = np.zeros((len(requests), k), np.int32)
    scores = np.full((len(requests), k), -np.inf, np.float32)
    for row, record in enumerate(requests.history):
      found = order(int(record["item"][-1]), allowed.dense()[row])[:k]
      ids[row, : len(found)] = found
      scores[row, : len(found)] = -np.abs(found - record["item"][-1] - 1)
    return ids, scores, {}


def order(last, allowed_V1):
  """Allowed items, the best behind the last one first; in plain Python."""
  items = [v for v, ok in enumerate(allowed_V1.tolist()) if ok]
  return np.array(sorted(items, key=lambda v: (abs(v - last - 1), v)), int)


def served(before=None, *, ranker=None, **options):
  """A model by the formula."""
  data = histories() if ranker is None else ranker.histories
  search = NextNumber(data.manifest.num_items, before)
  sizes = dict.fromkeys(SHAPES.batches, search)
  options = {"shapes": SHAPES, "ranker": ranker} | options
  return Served(data, sizes, **options)


def make_service(
  path, before=None, *, engine=None, store=None, ready=None, **options
):
  """A started service whose version v1 answers everybody."""

  def opener(source, shapes, *, name, num_golden):
    del source, shapes, num_golden
    return Opened(served(before, name=name, **options), (), f"run of {name}")

  made = Service(
    SqliteStore(path) if store is None else store,
    options=ServiceOptions(num_golden=0, deadline_seconds=20.0),
    engine=engine or EngineOptions(max_wait_seconds=0.0),
    shapes=SHAPES,
    ready=ready,
    opener=opener,
  )
  made.start()
  made.load("v1", Source("formula"), promote=True)
  return made


class Client:
  """Asks an application without a socket."""

  def __init__(self, app, raises=True):
    self.app, self.raises = app, raises

  def together(self, *calls):
    """Answers of (method, path, options), sent at once."""

    async def send():
      transport = httpx.ASGITransport(self.app, self.raises)
      async with httpx.AsyncClient(
        transport=transport, base_url="http://test", timeout=60
      ) as client:
        return await asyncio.gather(
          *(client.request(m, path, **more) for m, path, more in calls)
        )

    return asyncio.run(send())

  def __call__(self, method, path, body=None, **more):
    """One answer."""
    if body is not None:
      more["json"] = body
    return self.together((method, path, more))[0]

  def recommend(self, **body):
    """The JSON of a list."""
    answer = self("POST", "/v1/recommend", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def expected(ids, record, k, denied=(), allow=None, seen=True):
  """Ids of the k best items behind a record that may be in a list."""
  allowed = np.ones(NUM_ITEMS + 1, bool)
  allowed[0] = False
  if seen:
    allowed[record["item"]] = False
  for item in denied:
    allowed[ids.index(item)] = False
  if allow is not None:
    allowed &= np.isin(np.arange(NUM_ITEMS + 1), [ids.index(i) for i in allow])
  return [ids[v] for v in order(record["item"][-1], allowed)[:k]]


def ids_of(answer):
  """Of a list, in order."""
  return [item["id"] for item in answer["items"]]
