# SPDX-License-Identifier: Apache-2.0
"""Measures what is claimed of services, where that needs no stopwatch.

    python studies/serving_claims.py --data=ml-1m=runs/a/data,100k=log.parquet \
        [--bench=FILE,FILE] [--workdir=runs/a] \
        [--out=results/serving_claims.json]

140        pages take less memory than padded rows, at the lengths of real
           histories (PagedAttention's argument; also the sheet's third claim)
116        lists made ahead cost a twentieth: when that is so, by counting
1 cache    what it saves grows with what was read and falls with candidates:
           FLOPs of the compiled programs
2 batches  twice the requests a second at an equal 99th percentile
4 hits     how often users are there, by room: Che's approximation beside
           simulated caches, and beside the visits of the log, whose users do
           not come independently
5 bfloat16 changes lists: how much of the first ten stays, of a trained run
6 host     work of the host dominates small models

2 and 6 are of what `scripts/bench.py serving` printed (--bench: files with its
JSON line), 5 of a trained run (--workdir); without these they are left out.
140 and 4 are of --data: prepared data (genrec prepare), or a Parquet file of
events with a column user_id and, where it is known, timestamp (seconds). What
is counted or computed holds or does not: there are no seeds, but for the
simulated caches, which say how far the approximation is off. --noflops leaves
the first claim out, for which programs are compiled.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any

from absl import app, flags, logging
import numpy as np

from genrec_jax.core import atomic
from studies import cache_curves
from studies.event_log import Log

# Tests import several studies, and each has these.
_DATA = flags.DEFINE_list(
  "data",
  [],
  "NAME=PATH of prepared data, or of a Parquet file.",
  allow_override=True,
)
_BENCH = flags.DEFINE_list(
  "bench", [], "Files with JSON lines of bench.py serving.", allow_override=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "A trained run.", allow_override=True
)
_WINDOW = flags.DEFINE_integer(
  "window", 200, "Events that the model reads.", allow_override=True
)
_FLOPS = flags.DEFINE_bool(
  "flops", True, "Compile programs for the first claim.", allow_override=True
)
_OUT = flags.DEFINE_string(
  "out", None, "JSON file to write.", allow_override=True
)

_PAGE = 16
_REQUESTS = 200_000
_VISIT_SECONDS = 1800
# Batches are half, and a cache's figures differ by a percent (claims' words).
_TWICE, _PERCENT = 2.0, 0.01
_EVENTS, _READ, _CANDIDATES = 480, (0, 240, 432, 479), (1, 100, 1000)
_K, _ASKED = 10, 512


def memory_claim(
  lengths: Mapping[str, np.ndarray], window: int
) -> dict[str, Any]:
  """140: by data set."""
  found = {
    name: cache_curves.memory(length_U, window)
    for name, length_U in lengths.items()
  }
  smaller = [
    one[f"pages of {_PAGE}"]["places"] < one["padded"]["places"]
    for one in found.values()
  ]
  return {"verdict": _verdict(all(smaller)), "data": found}


def hit_claim(
  logs: Mapping[str, Log], window: int, requests: int = _REQUESTS
) -> dict[str, Any]:
  """4: of each data set by Zipf's law, and by its own visits."""
  found: dict[str, Any] = {}
  apart = []
  for name, log in logs.items():
    length_U = log.length_U
    pages_U = cache_curves.pages(length_U, window, _PAGE)
    mine: dict[str, Any] = {}
    for exponent in (1.0, 0.8, 0.6):
      rate_U = _zipf(len(length_U), exponent)
      mine[f"zipf {exponent}"] = cache_curves.curve(rate_U, pages_U, requests)
      apart += [
        abs(row["simulated"] - row["expected"])
        for row in mine[f"zipf {exponent}"]
      ]
    if log.time_E is not None:
      for label, gap in (("events", 0), ("visits", _VISIT_SECONDS)):
        asked = cache_curves.visits(log.user_E, log.time_E, window, _PAGE, gap)
        mine[label] = cache_curves.trace_curve(asked, len(length_U))
    found[name] = mine
  largest = max(apart, default=0.0)
  return {
    "verdict": _verdict(largest <= _PERCENT),
    "largest_difference": round(largest, 4),
    "data": found,
  }


def precomputed_claim() -> dict[str, Any]:
  """116: shares that are saved, by requests of a user and day, and by how much
  cheaper a list is where many are made at once."""
  rows = [
    {
      "requests_per_user_and_day": asked,
      "batch_times": times,
      "saved": round(cache_curves.precomputed(1, asked, times), 3),
    }
    for asked in (0.2, 1, 5, 20)
    for times in (1, 4, 16)
  ]
  return {"verdict": "arithmetic", "holds_from_requests": 20, "rows": rows}


def cost_claim(
  events: int = _EVENTS,
  read: Sequence[int] = _READ,
  candidates: Sequence[int] = _CANDIDATES,
  **sizes: int,
) -> dict[str, Any]:
  """1: FLOPs by what was read and by candidates."""
  from studies import history_costs

  rows = history_costs.speed_ups(events, read, candidates, **sizes)
  times = {(r["read"], r["candidates"]): r["times_fewer"] for r in rows}
  reads, numbers = sorted({*read}), sorted({*candidates})
  grows = all(
    times[a, m] < times[b, m]
    for m in numbers
    for a, b in zip(reads[:-1], reads[1:], strict=True)
  )
  falls = all(
    times[c, m] > times[c, n]
    for c in reads
    if c
    for m, n in zip(numbers[:-1], numbers[1:], strict=True)
  )
  return {"verdict": _verdict(grows and falls), "rows": rows}


def bench_claims(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """2 and 6, of what bench.py serving printed."""
  batches, hosts = {}, {}
  for result in results:
    rates = {
      (row["path"], row["batch"] > 1): row["rate_within_limit"]
      for row in result["rows"]
      if not row["cache_mb"]
    }
    for path in {row["path"] for row in result["rows"]}:
      one, many = rates[path, False], rates[path, True]
      times = None if not one or not many else round(many / one, 2)
      batches[f"{result['config']} {path}"] = times
    for row in result["rows"]:
      least = row["loads"][0]
      if row["path"] != "http" or least["latency_ms"] is None:
        continue
      share = 1 - least["model_ms"] / least["latency_ms"]["p50"]
      cache = "cache" if row["cache_mb"] else "none"
      name = f"{result['config']} batches of {row['batch']}, {cache}"
      hosts[name] = round(share, 3)
  holds = all(
    times is not None and times > _TWICE for times in batches.values()
  )
  host = "not measured: nothing was asked over HTTP"
  if hosts:
    host = _verdict(all(share > 0.5 for share in hosts.values()))
  return {
    "2 batches": {"verdict": _verdict(holds), "times": batches},
    "6 host": {"verdict": host, "share_of_latency": hosts},
  }


def precision_claim(workdir: str) -> dict[str, Any]:
  """5: what of the first places stays in bfloat16."""
  from genrec_jax.core.build import build
  from genrec_jax.data.dataset.requests import iter_requests
  from genrec_jax.data.item_mask import ItemMask
  from genrec_jax.experiment.experiment import Run
  from genrec_jax.experiment.restored import load_params

  run = Run.open(workdir)
  params = load_params(run).params
  node = in_dtype(run.config["system"], "bfloat16")
  num_items = run.histories.manifest.num_items
  system = build(node, where="config.system", num_items=num_items)
  found = []
  for one in (run, dataclasses.replace(run, system=system)):
    search = one.search(params)
    size, lists, asked = run.requests.batch_size, [], 0
    for requests in iter_requests(run.histories, "test", size):
      hidden = [record["item"] for record in requests.history]
      allowed = ItemMask.all_but(hidden, num_items)
      lists.append(np.asarray(search(requests, _K, allowed)[0]))
      asked += len(requests)
      if asked >= _ASKED:
        break
    found.append(np.concatenate(lists))
  overlap, same_first = list_overlap(*found)
  return {
    "verdict": _verdict(overlap < 1),
    "overlap@10": overlap,
    "same_first": same_first,
    "requests": len(found[0]),
  }


def in_dtype(node: Any, dtype: str) -> Any:
  """A config node with another `dtype`, wherever it has one."""
  if isinstance(node, Mapping):
    return {
      key: dtype if key == "dtype" else in_dtype(value, dtype)
      for key, value in node.items()
    }
  if isinstance(node, list | tuple):
    return [in_dtype(value, dtype) for value in node]
  return node


def list_overlap(
  one_BK: np.ndarray, other_BK: np.ndarray
) -> tuple[float, float]:
  """Mean share of the places that both have, and of equal first ones."""
  shares = [
    len({*a.tolist()} & {*b.tolist()}) / len({*a.tolist()})
    for a, b in zip(one_BK, other_BK, strict=True)
  ]
  same = (one_BK[:, 0] == other_BK[:, 0]).mean()
  return round(float(np.mean(shares)), 4), round(float(same), 4)


def _verdict(holds: bool) -> str:
  return "holds" if holds else "does not hold"


def _zipf(count: int, exponent: float) -> np.ndarray:
  """Rates by rank; ranks have nothing to do with lengths."""
  rate_U = np.arange(1, count + 1, dtype=np.float64) ** -exponent
  return np.random.default_rng(0).permutation(rate_U)


def _named(texts: Sequence[str]) -> dict[str, Log]:
  found = {}
  for text in texts:
    name, _, path = text.partition("=")
    if not (name and path):
      raise ValueError(f"--data={text}: write NAME=PATH.")
    found[name] = Log.of(path)
  return found


def _bench_results(paths: Sequence[str]) -> list[dict[str, Any]]:
  """The JSON lines of files, whatever stands around them."""
  found = []
  for path in paths:
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines if line.startswith("{")]
    mine = [one for one in read if one.get("bench") == "serving"]
    if not mine:
      raise ValueError(f"--bench={path} has no JSON line of bench.py serving.")
    found += mine
  return found


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  try:
    data, window = _named(_DATA.value), _WINDOW.value
    found = {"116": precomputed_claim()}
    if _FLOPS.value:
      found["1 cache"] = cost_claim()
    if data:
      lengths = {name: log.length_U for name, log in data.items()}
      found["140"] = memory_claim(lengths, window)
      found["4 hits"] = hit_claim(data, window)
    if _BENCH.value:
      found |= bench_claims(_bench_results(_BENCH.value))
    if _WORKDIR.value:
      found["5 bfloat16"] = precision_claim(_WORKDIR.value)
  except ValueError as error:
    raise SystemExit(f"error: {error}") from error
  for name, row in found.items():
    print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    atomic.write_text(_OUT.value, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
