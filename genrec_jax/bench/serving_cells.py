# SPDX-License-Identifier: Apache-2.0
"""The two ways in which a service is asked: its engine, and over HTTP.

in_engine    queue, batches, cache and model in this process; what a request
             is made of lies ready
over_http    `genrec serve` in a process of its own, over the loopback, as
             its callers meet it; it and who asks have a core each, if there
             are two
"""

import asyncio
from collections.abc import Callable
import pathlib
import time
from typing import Any

import jax
import numpy as np

from genrec_jax.bench import open_loop
from genrec_jax.bench.http_client import Client
from genrec_jax.bench.open_loop import Answer, Ask
from genrec_jax.bench.served_process import on_core, served_process, two_cores
from genrec_jax.bench.serving_load import ServingOptions, measured
from genrec_jax.core import seams
from genrec_jax.experiment.experiment import Run
from genrec_jax.service import wire
from genrec_jax.service.engine import THREAD, EngineOptions
from genrec_jax.service.live_items import LiveItems
from genrec_jax.service.opening import Source
from genrec_jax.service.paged_cache import PagedCache
from genrec_jax.service.paged_reader import PagedOptions
from genrec_jax.service.refused import Refused
from genrec_jax.service.service import Service, ServiceOptions
from genrec_jax.service.shapes import Shapes
from genrec_jax.service.sqlite_store import SqliteStore
from genrec_jax.service.versions import Version

# From a user's number to what is sent.
Body = Callable[[int], dict[str, Any]]
_SHORTEST_LIST = 16


def bodies(options: ServingOptions, finds: bool) -> Body:
  """What is sent for a user: lists are asked for, or scores of given items."""
  draw = np.random.default_rng(0)
  items = draw.integers(
    0, options.num_items, (options.num_users, options.candidates)
  )

  def body(user: int) -> dict[str, Any]:
    whom = {"user_id": f"u{user}", "deadline_ms": options.deadline_ms}
    if finds:
      return {**whom, "k": options.k}
    return {**whom, "candidates": [f"i{n}" for n in items[user]]}

  return body


def finds_items(run: Run) -> bool:
  """Whether a run finds items, or ranks given ones alone."""
  by_vectors = seams.offers(run.system, seams.QueryModel)
  return run.retrieval is not None or by_vectors


def in_engine(
  run: Run,
  options: ServingOptions,
  largest: int,
  cache_mb: float | int,
  store: pathlib.Path,
) -> dict[str, Any]:
  """A cell, by the engine of a service in this process."""
  shapes = Shapes(
    batches=options.batches(largest),
    lists=(max(_SHORTEST_LIST, options.k),),
    histories=(1, options.events),
    micro_batch=options.candidates,
  )
  cache = PagedCache(PagedOptions(cache_mb), shapes) if cache_mb else None
  service = Service(
    SqliteStore(store),
    options=ServiceOptions(num_golden=0),
    engine=EngineOptions(),
    shapes=shapes,
    cache=cache,
  )
  service.start()
  try:
    source = Source(str(run.workdir), checkpoint="latest")
    started = time.monotonic()
    version = service.load("v1", source, promote=True)
    loaded = time.monotonic() - started
    body_of = bodies(options, version.served.finds)
    ask = engine_ask(service, version, options, body_of)
    found = asyncio.run(measured(ask, options, largest))
    made = service.compilations.of_thread(THREAD)
    return {
      "load_seconds": round(loaded, 1),
      "compiled_when_ready": made,
      **found,
    }
  finally:
    service.close(5.0)


def engine_ask(
  service: Service, version: Version, options: ServingOptions, body_of: Body
) -> Ask:
  """Asks the engine what callers would; the asks are made now."""
  items, asker = LiveItems.of(version.served.catalog, {}), version.asker
  asks = []
  for user in range(options.num_users):
    body = body_of(user)
    if version.served.finds:
      asked = asker.listing(wire.Recommend(**body), items)
    else:
      asked = asker.ranking(wire.Rank(**body), items)
    asks.append(asked.ask)

  async def ask(user: int) -> Answer:
    deadline = time.monotonic() + options.good_seconds
    try:
      future = service.engine.submit(version.served, asks[user], deadline)
      done = await asyncio.wait_for(
        asyncio.wrap_future(future), options.good_seconds
      )
    except Refused as refused:
      return Answer(refused.status)
    except TimeoutError:
      return Answer(open_loop.LATE)
    reused = done.answer.reused
    return Answer(
      open_loop.OK, done.why is not None, reused.hit > 0, done.model_seconds
    )

  return ask


def over_http(
  run: Run,
  options: ServingOptions,
  largest: int,
  cache_mb: float | int,
  store: pathlib.Path,
) -> dict[str, Any]:
  """A cell, by a service in a process of its own."""
  cores = two_cores() or (None, None)
  batches = ",".join(map(str, options.batches(largest)))
  flags = [
    f"--workdir={run.workdir}",
    *("--checkpoint=latest", "--port=0", "--golden=0"),
    f"--store={store}",
    f"--batches={batches}",
    f"--lists={max(_SHORTEST_LIST, options.k)}",
    f"--micro_batch={options.candidates}",
    f"--cache_mb={cache_mb:g}",
  ]
  environment = {}
  if jax.config.jax_compilation_cache_dir is not None:
    # It finds what was compiled here.
    environment = {
      "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    }
  finds = finds_items(run)
  path = "/v1/recommend" if finds else "/v1/rank"
  started = time.monotonic()
  with served_process(flags, cores[0], environment) as (host, port):
    loaded = time.monotonic() - started
    with on_core(cores[1]):
      found = asyncio.run(
        ask_over_http(
          host, port, path, options, bodies(options, finds), largest
        )
      )
  return {"load_seconds": round(loaded, 1), **found}


async def ask_over_http(
  host: str,
  port: int,
  path: str,
  options: ServingOptions,
  body_of: Body,
  largest: int,
) -> dict[str, Any]:
  """What is measured of a service that listens there."""
  client = Client(host, port)
  try:
    return await measured(http_ask(client, path, body_of), options, largest)
  finally:
    await client.close()


def http_ask(client: Client, path: str, body_of: Body) -> Ask:
  """Asks a service over HTTP."""

  async def ask(user: int) -> Answer:
    status, said = await client.post(path, body_of(user))
    if status != open_loop.OK:
      return Answer(status)
    return Answer(
      status,
      said["degraded"],
      said["cache"]["hit"] > 0,
      said["timings_ms"]["model"] / 1000,
    )

  return ask
