# SPDX-License-Identifier: Apache-2.0
"""What a service is asked to bear, and what is measured of it.

    found = await measured(ask, ServingOptions(), largest=16)

The capacity first, with many requests always under way; then open loops
(bench/open_loop.py) at multiples of it; at last, behind the largest, a load of
half the capacity, which says how long it takes to recover. An answer within the
deadline is a good one.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from genrec_jax.bench import open_loop
from genrec_jax.bench.open_loop import Ask

# Of the capacity, behind the largest load.
_CALM = 0.5
# Requests that are under way for every place of the largest batch.
_AHEAD = 2
# Users that the capacity is measured with, drawn once.
_DRAWN = 5000


@dataclasses.dataclass(frozen=True)
class ServingOptions:
  """What is asked, and for how long.

  Attributes:
    num_users, num_items, events: of the random log.
    candidates: of a request to a ranker.
    k: places of a list.
    batch: largest one; between it and 1 there is its root, so that fewer
      programs are compiled than a service has.
    cache_mb: device memory of the cache.
    exponent: of Zipf's law.
    loads: multiples of the capacity.
    seconds: of each load.
    deadline_ms: of each request, and until which an answer is good.
    limit_ms: that the 99th percentile is to keep to, for the largest rate.
    http: ask over HTTP too.
  """

  num_users: int = 1000
  num_items: int = 3706
  events: int = 200
  candidates: int = 100
  k: int = 10
  batch: int = 16
  cache_mb: float | int = 1024.0
  exponent: float | int = 1.0
  loads: tuple[float | int, ...] = (0.5, 0.8, 1.0, 2.0, 3.0)
  seconds: float | int = 3.0
  deadline_ms: int = 250
  limit_ms: float | int = 100.0
  http: bool = True

  def __post_init__(self):
    if not self.loads or min(self.loads) <= 0 or self.seconds <= 0:
      raise ValueError(
        f"loads={self.loads} and seconds={self.seconds} must be positive."
      )
    if self.batch < 2 or not self.cache_mb > 0:
      raise ValueError(
        f"batch={self.batch} must be at least 2, and cache_mb={self.cache_mb}"
        " above 0: what they are compared with is without."
      )

  @property
  def good_seconds(self) -> float:
    """The deadline."""
    return self.deadline_ms / 1000

  def batches(self, largest: int) -> tuple[int, ...]:
    """Sizes of batches up to the largest."""
    return tuple(sorted({1, round(largest**0.5), largest}))


async def measured(
  ask: Ask,
  options: ServingOptions,
  largest: int,
) -> dict[str, Any]:
  """Capacity, loads and recovery of whatever is asked.

  Args:
    ask: see bench/open_loop.py.
    options: see ServingOptions.
    largest: requests of a batch.

  Raises:
    ValueError: it answers nothing.
  """
  users = open_loop.drawn_users(
    _DRAWN, options.num_users, options.exponent, seed=1
  ).tolist()
  for _ in range(2):
    # The first time fills the cache, and does not count.
    capacity = await open_loop.closed_loop(
      ask, users, _AHEAD * max(largest, 4), options.seconds
    )
  if not capacity:
    raise ValueError(
      f"nothing was answered within {options.seconds:g} s: give it more"
      " --seconds, or a longer --deadline_ms."
    )

  def drawn(load: float, seed: int) -> open_loop.Schedule:
    return open_loop.poisson(
      load * capacity,
      options.seconds,
      options.num_users,
      options.exponent,
      seed,
    )

  loads, recovery = [], None
  for place, load in enumerate(sorted(options.loads)):
    schedule = drawn(load, 10 + place)
    if load == max(options.loads):
      schedule = schedule.then(drawn(_CALM, 99))
    asked = await open_loop.open_loop(ask, schedule)
    mine = asked.until(options.seconds)
    loads.append(
      {"load": load, **open_loop.summary(mine, options.good_seconds)}
    )
    if load == max(options.loads):
      calm = asked.since(options.seconds)
      recovery = open_loop.recovery_seconds(calm, options.good_seconds)
  best = max(one["good_per_second"] for one in loads)
  return {
    "capacity_per_second": round(capacity, 1),
    "rate_within_limit": rate_within(loads, options.limit_ms),
    "good_of_best": round(loads[-1]["good_per_second"] / best, 3)
    if best
    else None,
    "recovery_seconds": recovery,
    "loads": loads,
  }


def rate_within(
  loads: Sequence[Mapping[str, Any]], limit_ms: float | int
) -> float | None:
  """The largest rate at which all are answered, and 99 % within the limit;
  None where there is none."""
  found = [
    float(one["offered_per_second"])
    for one in loads
    if one["answered"] == one["requests"] > 0
    and one["latency_ms"]["p99"] <= limit_ms
  ]
  return max(found, default=None)
