# SPDX-License-Identifier: Apache-2.0
"""The loads of a service, in small: what is counted, and nothing of time."""

import asyncio
import dataclasses
import socket
import threading
import time

import numpy as np
import polars as pl
import pytest
import uvicorn

from genrec_jax.bench import open_loop, serving, serving_cells, untrained_run
from genrec_jax.bench.served_process import served_process
from genrec_jax.bench.serving_load import ServingOptions, measured, rate_within
from genrec_jax.experiment.experiment import Run
from genrec_jax.service.app import create_app
from tests.service import fakes

_OPTIONS = ServingOptions(
  num_users=30,
  num_items=fakes.NUM_ITEMS,
  candidates=5,
  batch=4,
  loads=(1.0, 3.0),
  seconds=0.25,
  deadline_ms=2000,
)


@pytest.fixture
def service(tmp_path):
  made = fakes.make_service(tmp_path / "events")
  yield made
  made.close(5.0)


def _bodies(service):
  (version,) = service.versions.loaded()
  users = version.served.users.ids
  return lambda user: {"user_id": users[user], "k": 5}


def _counted(found):
  for one in found["loads"]:
    parts = ("answered", "refused", "late", "failed")
    assert one["requests"] == sum(one[name] for name in parts) > 0
    assert one["good"] <= one["answered"] and not one["failed"]
  assert [one["load"] for one in found["loads"]] == [1.0, 3.0]
  assert found["capacity_per_second"] > 0


def test_the_engine_is_asked_and_says_what_became_of_it(service):
  (version,) = service.versions.loaded()
  ask = serving_cells.engine_ask(service, version, _OPTIONS, _bodies(service))
  _counted(asyncio.run(measured(ask, _OPTIONS, 4)))
  service.engine.drain()
  assert asyncio.run(ask(3)) == open_loop.Answer(503)


def test_what_takes_longer_than_its_deadline_is_late(tmp_path):
  go = threading.Event()
  go.set()
  held = fakes.make_service(
    tmp_path / "events", before=lambda requests: go.wait(20)
  )
  go.clear()
  try:
    (version,) = held.versions.loaded()
    options = dataclasses.replace(_OPTIONS, deadline_ms=30)
    ask = serving_cells.engine_ask(held, version, options, _bodies(held))
    assert asyncio.run(ask(0)).status == 504
    with pytest.raises(ValueError, match="nothing was answered"):
      asyncio.run(measured(ask, options, 4))
  finally:
    go.set()
    held.close(5.0)


def test_over_http_as_much_is_counted_as_the_service_counts(service):
  with socket.create_server(("127.0.0.1", 0)) as bound:
    config = uvicorn.Config(
      create_app(service),
      **{"lifespan": "off", "log_config": None, "access_log": False},
      **{"ws": "none", "loop": "asyncio"},
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    while not server.started:
      assert thread.is_alive()
      time.sleep(0.01)
    port = bound.getsockname()[1]

    async def run():
      client = serving_cells.Client("127.0.0.1", port)
      ask = serving_cells.http_ask(client, "/v1/recommend", _bodies(service))
      schedule = open_loop.poisson(300, 0.2, 30)
      asked = await open_loop.open_loop(ask, schedule)
      await client.close()
      return asked

    asked = asyncio.run(run())
    _counted(
      asyncio.run(
        serving_cells.ask_over_http(
          "127.0.0.1", port, "/v1/recommend", _OPTIONS, _bodies(service), 4
        )
      )
    )
    server.should_exit = True
    thread.join(20)
  count = open_loop.summary(asked, 2.0)
  assert count["answered"] == count["requests"] == len(asked.schedule)
  # No cache is there, and every batch took some time.
  assert count["hit_rate"] == 0 and count["model_ms"] > 0
  name, labels = "genrec_requests_total", {"route": "/v1/recommend"}
  told = service.metrics.registry.get_sample_value(
    name, {**labels, "code": "200"}
  )
  assert told >= count["answered"]


@pytest.mark.slow
def test_a_service_of_a_process_is_asked(tmp_path):
  run = Run.open(fakes.STORED)
  # Of one size and without a cache it compiles the least.
  found = serving_cells.over_http(run, _OPTIONS, 1, 0.0, tmp_path / "events")
  _counted(found)
  flags = [f"--workdir={tmp_path}", "--port=0"]
  with pytest.raises(ValueError, match="(?s)serve .*ended with 1:.*no run"):
    with served_process(flags, None):
      raise AssertionError("it is not ready")


def test_rates_that_keep_to_a_limit():
  def load(offered, p99, answered=10):
    return {
      "offered_per_second": offered,
      "requests": 10,
      "answered": answered,
      "latency_ms": {"p99": p99},
    }

  loads = [load(10.0, 20.0), load(20.0, 99.0), load(30.0, 120.0)]
  assert rate_within(loads, 100) == 20.0
  assert rate_within([*loads, load(40.0, 50.0, answered=9)], 100) == 20.0
  assert rate_within(loads[2:], 100) is None


def test_what_batches_and_the_cache_are_worth_and_the_table():
  speeds = {(1, 0): 10.0, (1, 8): 25.0, (4, 0): 30.0, (4, 8): 60.0}
  one = {
    **dict.fromkeys(("load", "offered_per_second", "good_per_second"), 1.0),
    **dict.fromkeys(("degraded", "refused", "late"), 0),
    "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
    **{"refused_ms": None, "hit_rate": None},
  }
  rows = [
    {
      **{"path": "engine", "batch": batch, "cache_mb": cache_mb},
      "capacity_per_second": speed,
      **{"rate_within_limit": None, "recovery_seconds": 0.0, "loads": [one]},
    }
    for (batch, cache_mb), speed in speeds.items()
  ]
  worth = serving._worth(rows)
  assert worth == {
    "engine_batches_times": 3.0,
    "engine_cache_times": 2.0,
    "engine_cache_times_alone": 2.5,
  }
  options = dataclasses.asdict(_OPTIONS)
  result = {"config": "c", "parameters": 7, **options, "rows": rows, **worth}
  lines = serving.table(result).splitlines()
  assert len(lines) == 2 + 2 * 4 + 3
  assert "batches of 4, cache 8 MB: capacity 60.0/s" in lines[8]


def test_the_log_has_every_item_and_action_and_no_two_events_at_once():
  log = untrained_run.random_log(5, 12, 20, ("click", "like"))
  assert len(log) == 100 and log["item"].n_unique() == 12
  assert set(log["action"]) == {"skip", "click", "like"}
  for _, mine in log.group_by("user"):
    times = mine["timestamp"].to_numpy()
    assert len(times) == 20 and (np.diff(times) > 0).all()
  same = untrained_run.random_log(5, 12, 20, ("click", "like"))
  assert log.equals(same)
  assert "action" not in untrained_run.random_log(2, 3, 4).columns
  assert isinstance(log, pl.DataFrame)


def test_a_folder_of_another_log_is_refused(tmp_path):
  untrained_run.random_log(5, 12, 20).write_parquet(tmp_path / "log.parquet")
  config = {"pipeline": {"layout": {}}}
  for sizes in ((6, 12, 20), (5, 11, 20), (5, 12, 21)):
    names = ("num_users", "num_items", "events")
    with pytest.raises(ValueError, match="log.parquet is not the log of"):
      untrained_run.untrained_run(
        config, tmp_path, **dict(zip(names, sizes, strict=True))
      )


@pytest.mark.parametrize(
  "wrong",
  [{"loads": ()}, {"loads": (0.0,)}, {"seconds": 0}, {"batch": 1}],
)
def test_options_that_cannot_be(wrong):
  with pytest.raises(ValueError, match="must be"):
    dataclasses.replace(_OPTIONS, **wrong)
