# SPDX-License-Identifier: Apache-2.0
"""How many requests a service answers, and how it bears more than it can.

One at a time or in batches, without or with a cache of histories, by the engine
alone and over HTTP (bench/serving_cells.py): capacity, loads, recovery
(bench/serving_load.py). Users come by Zipf's law, each with the same history
every time; up to three new events would cost the same with a cache, since
programs are of few sizes. Weights are drawn, not trained.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import tempfile
import time
from typing import Any

import jax

from genrec_jax.bench.served_process import two_cores
from genrec_jax.bench.serving_cells import in_engine, over_http
from genrec_jax.bench.serving_load import ServingOptions
from genrec_jax.bench.untrained_run import untrained_run
from genrec_jax.train.state import num_parameters

ENGINE, HTTP = "engine", "http"


def time_serving(
  config: Mapping[str, Any],
  options: ServingOptions,
  workdir: str | os.PathLike | None = None,
) -> dict[str, Any]:
  """Figures of all cells, and what batches and the cache are worth.

  Args:
    config: plain and checked, of a model that finds items or ranks them.
    options: see ServingOptions.
    workdir: where the untrained run is written, or lies; None = nowhere.
  """
  started = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    run = untrained_run(
      config,
      workdir or pathlib.Path(folder) / "run",
      num_users=options.num_users,
      num_items=options.num_items,
      events=options.events,
    )
    _keep_programs(pathlib.Path(folder) / "compiled")
    rows = []
    for path in (ENGINE, HTTP) if options.http else (ENGINE,):
      measured = {ENGINE: in_engine, HTTP: over_http}[path]
      for largest in (1, options.batch):
        for cache_mb in (0.0, options.cache_mb):
          store = pathlib.Path(folder) / f"{path}-{largest}-{cache_mb:g}"
          cell = {"path": path, "batch": largest, "cache_mb": cache_mb}
          found = measured(run, options, largest, cache_mb, store)
          rows.append({**cell, **found})
    cores = two_cores()
    return {
      "config": run.name,
      "weights": "drawn, not trained",
      "parameters": num_parameters(run.abstract_params()),
      **dataclasses.asdict(options),
      "users": "Zipf",
      "cores": len(os.sched_getaffinity(0)) if cores else 1,
      "pinned": cores is not None,
      "rows": rows,
      **_worth(rows),
      "total_seconds": round(time.monotonic() - started, 1),
    }


def _keep_programs(folder: pathlib.Path) -> None:
  """Has the service of a process find what this one has compiled."""
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


def _worth(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Ratios of capacities: of batches without a cache, of it within batches."""
  found = {}
  for path in dict.fromkeys(row["path"] for row in rows):
    of = {
      (row["batch"] > 1, row["cache_mb"] > 0): row["capacity_per_second"]
      for row in rows
      if row["path"] == path
    }
    pairs = {
      "batches_times": (of[True, False], of[False, False]),
      "cache_times": (of[True, True], of[True, False]),
      "cache_times_alone": (of[False, True], of[False, False]),
    }
    for name, (with_it, without) in pairs.items():
      found[f"{path}_{name}"] = round(with_it / without, 2)
  return found


def table(result: Mapping[str, Any]) -> str:
  """The result of time_serving for people to read."""
  lines = [
    f"{result['config']}, {result['parameters']:,} parameters (drawn, not"
    f" trained), {result['num_users']:,} users of {result['events']} events;"
    f" deadline {result['deadline_ms']} ms; times in ms from when a request"
    " was due",
    f"{'':28} {'load':>5} {'asked/s':>8} {'good/s':>8} {'p50':>7} {'p95':>7}"
    f" {'p99':>7} {'less':>5} {'503':>6} {'p99':>7} {'504':>5} {'hits':>5}",
  ]
  for row in result["rows"]:
    cache = f"cache {row['cache_mb']:g} MB" if row["cache_mb"] else "no cache"
    lines.append(
      f"{row['path']}, batches of {row['batch']}, {cache}: capacity"
      f" {row['capacity_per_second']:,}/s, {_said(row['rate_within_limit'])}/s"
      f" with p99 under {result['limit_ms']:g} ms, recovery"
      f" {_said(row['recovery_seconds'])} s"
    )
    lines += [_line(one) for one in row["loads"]]
  lines += [f"{name}: {result[name]}" for name in result if "_times" in name]
  return "\n".join(lines)


def _line(one: Mapping[str, Any]) -> str:
  latency = one["latency_ms"] or {}
  times = " ".join(
    f"{_said(latency.get(name)):>7}" for name in ("p50", "p95", "p99")
  )
  refused = _said((one["refused_ms"] or {}).get("p99"))
  return (
    f"{'':28} {one['load']:>5g} {one['offered_per_second']:>8}"
    f" {one['good_per_second']:>8} {times} {one['degraded']:>5}"
    f" {one['refused']:>6} {refused:>7} {one['late']:>5}"
    f" {_said(one['hit_rate']):>5}"
  )


def _said(value: float | None) -> str:
  return "-" if value is None else f"{value:g}"
