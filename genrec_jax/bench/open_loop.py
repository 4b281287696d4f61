# SPDX-License-Identifier: Apache-2.0
"""Requests at moments that no answer has a say in, and what became of them.

    schedule = poisson(rate=200, seconds=3, num_users=1000)     users by Zipf
    asked = await open_loop(ask, schedule)
    summary(asked, good_seconds=0.25)

A latency counts from the moment at which a request is due, also where whoever
sends it is late: a service that stands still is not spared the requests that
would have come meanwhile (coordinated omission). `ask` answers a user's number
with an Answer, and never raises.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
import dataclasses
import itertools
import time
from typing import Any

from jaxtyping import Float, Int
import numpy as np

OK, BUSY, QUOTA, LATE = 200, 503, 429, 504


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a request is told.

  Attributes:
    status: of HTTP; 0 = the connection failed.
    degraded: it is not the full answer.
    hit: something of the history was there.
    model_seconds: its batch took.
  """

  status: int
  degraded: bool = False
  hit: bool = False
  model_seconds: float = 0.0


Ask = Callable[[int], Awaitable[Answer]]


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Who asks when.

  Attributes:
    due_N: seconds from the beginning, ascending.
    user_N: numbers of users.
    seconds: until the end, at which nobody need ask.
  """

  due_N: Float[np.ndarray, "N"]
  user_N: Int[np.ndarray, "N"]
  seconds: float | int

  def __len__(self) -> int:
    return len(self.due_N)

  def then(self, other: "Schedule") -> "Schedule":
    """This one, and the other right behind it."""
    return Schedule(
      np.concatenate([self.due_N, self.seconds + other.due_N]),
      np.concatenate([self.user_N, other.user_N]),
      self.seconds + other.seconds,
    )


@dataclasses.dataclass(frozen=True)
class Asked:
  """A schedule, and what became of each of its requests.

  Attributes:
    schedule: as above.
    sent_N: seconds from the beginning at which each was sent.
    ended_N: likewise, at which its answer was there.
    answers: in the order of the schedule.
  """

  schedule: Schedule
  sent_N: Float[np.ndarray, "N"]
  ended_N: Float[np.ndarray, "N"]
  answers: Sequence[Answer]

  @property
  def latency_N(self) -> Float[np.ndarray, "N"]:
    """Seconds from when each was due."""
    return self.ended_N - self.schedule.due_N

  @property
  def status_N(self) -> Int[np.ndarray, "N"]:
    """Of HTTP."""
    return np.array([a.status for a in self.answers], np.int64)

  def until(self, seconds: float) -> "Asked":
    """Those that were due before."""
    return self._part(slice(0, self._place(seconds)), seconds)

  def since(self, seconds: float) -> "Asked":
    """Those that were due from then on; times count from there."""
    return self._part(slice(self._place(seconds), None), seconds, since=True)

  def _place(self, seconds: float) -> int:
    return int(np.searchsorted(self.schedule.due_N, seconds))

  def _part(self, part: slice, seconds: float, since: bool = False) -> "Asked":
    begin = seconds if since else 0.0
    end = self.schedule.seconds if since else seconds
    due_N, user_N = self.schedule.due_N, self.schedule.user_N
    return Asked(
      Schedule(due_N[part] - begin, user_N[part], end - begin),
      self.sent_N[part] - begin,
      self.ended_N[part] - begin,
      self.answers[part],
    )


def zipf(num_users: int, exponent: float) -> Float[np.ndarray, "U"]:
  """Shares of the requests by rank: r^-exponent, normalised."""
  share_U = np.arange(1, num_users + 1, dtype=np.float64) ** -exponent
  return share_U / share_U.sum()


def drawn_users(
  count: int, num_users: int, exponent: float, seed: int
) -> Int[np.ndarray, "N"]:
  """Numbers of users by Zipf's law; who is often there is drawn too, the same
  for all seeds."""
  order = np.random.default_rng(0).permutation(num_users)
  draw = np.random.default_rng([seed, 1])
  return order[draw.choice(num_users, count, p=zipf(num_users, exponent))]


def poisson(
  rate: float | int,
  seconds: float | int,
  num_users: int,
  exponent: float = 1.0,
  seed: int = 0,
) -> Schedule:
  """Arrivals that know nothing of each other.

  Args:
    rate: requests a second, on average.
    seconds: for so long.
    num_users: who may ask.
    exponent: of Zipf's law.
    seed: of all that is drawn.

  Raises:
    ValueError: a rate or a time that is not positive, or nobody to ask.
  """
  if not (rate > 0 and seconds > 0 and num_users > 0):
    raise ValueError(
      f"rate={rate}, seconds={seconds} and num_users={num_users} must be"
      " positive."
    )
  draw = np.random.default_rng([seed, 0])
  # Given their number, they are spread evenly.
  count = draw.poisson(rate * seconds)
  due_N = np.sort(draw.uniform(0, seconds, count))
  user_N = drawn_users(count, num_users, exponent, seed)
  return Schedule(due_N, user_N, seconds)


async def open_loop(ask: Ask, schedule: Schedule) -> Asked:
  """Sends each request when it is due; returns when all have their answer."""
  count = len(schedule)
  sent_N, ended_N = np.zeros(count), np.zeros(count)
  answers: list[Answer] = [Answer(0)] * count
  begin = time.monotonic()

  async def one(place: int, user: int) -> None:
    sent_N[place] = time.monotonic() - begin
    answers[place] = await ask(user)
    ended_N[place] = time.monotonic() - begin

  async with asyncio.TaskGroup() as group:
    pairs = zip(schedule.due_N.tolist(), schedule.user_N.tolist(), strict=True)
    for place, (due, user) in enumerate(pairs):
      left = begin + due - time.monotonic()
      # Also where it is late already: what was sent must get its turn.
      await asyncio.sleep(max(0.0, left))
      group.create_task(one(place, user))
  return Asked(schedule, sent_N, ended_N, answers)


async def closed_loop(
  ask: Ask, users: Sequence[int], workers: int, seconds: float | int
) -> float:
  """Answers a second where so many are always asked for: the capacity.

  Args:
    ask: see the module docstring.
    users: whom to ask for, over and over again.
    workers: requests that are under way at any time.
    seconds: for so long.
  """
  whom, done = itertools.cycle(users), 0
  begin = time.monotonic()
  end = begin + seconds

  async def work() -> None:
    nonlocal done
    while time.monotonic() < end:
      answer = await ask(int(next(whom)))
      # What ends after it would count for time that does not.
      done += answer.status == OK and time.monotonic() < end
      if answer.status != OK:
        # A refusal comes at once, and must not keep others from their turn.
        await asyncio.sleep(0.001)

  async with asyncio.TaskGroup() as group:
    for _ in range(workers):
      group.create_task(work())
  return done / seconds


def summary(asked: Asked, good_seconds: float) -> dict[str, Any]:
  """Counts, rates and percentiles, in milliseconds.

  Args:
    asked: what became of a schedule.
    good_seconds: an answer that takes longer is of no use any more.
  """
  status_N, latency_N = asked.status_N, asked.latency_N
  ok_N = status_N == OK
  refused_N = np.isin(status_N, (BUSY, QUOTA))
  good = int((ok_N & (latency_N <= good_seconds)).sum())
  mine = [a for a in asked.answers if a.status == OK]
  seconds = asked.schedule.seconds
  return {
    "requests": len(asked.schedule),
    "offered_per_second": round(len(asked.schedule) / seconds, 1),
    "good_per_second": round(good / seconds, 1),
    "answered": int(ok_N.sum()),
    "good": good,
    "degraded": sum(a.degraded for a in mine),
    "refused": int(refused_N.sum()),
    "late": int((status_N == LATE).sum()),
    "failed": int((~ok_N & ~refused_N & (status_N != LATE)).sum()),
    "latency_ms": _percentiles(latency_N[ok_N]),
    "refused_ms": _percentiles(latency_N[refused_N]),
    "hit_rate": _mean([a.hit for a in mine]),
    "model_ms": _mean([1000 * a.model_seconds for a in mine]),
    "sent_late_ms": _percentiles(asked.sent_N - asked.schedule.due_N),
  }


def recovery_seconds(
  calm: Asked, good_seconds: float, begin: float = 0.0
) -> float | None:
  """Seconds from the end of a load until all is well for good.

  Args:
    calm: what was asked from that end on.
    good_seconds: see summary.
    begin: the load's end, in the times of `calm`.

  Returns:
    When the last request was due that was not answered in full and in time; 0
    where all were, None where the very last one was not.
  """
  bad_N = calm.latency_N > good_seconds
  bad_N |= calm.status_N != OK
  bad_N |= np.array([a.degraded for a in calm.answers], bool)
  places = np.flatnonzero(bad_N)
  if not len(places):
    return 0.0
  if places[-1] == len(bad_N) - 1:
    return None
  return round(float(calm.schedule.due_N[places[-1]] - begin), 3)


def _percentiles(seconds_N: np.ndarray) -> dict[str, float] | None:
  if not len(seconds_N):
    return None
  found = np.percentile(seconds_N, (50, 95, 99))
  names = ("p50", "p95", "p99")
  return {
    n: round(1000 * float(x), 2) for n, x in zip(names, found, strict=True)
  }


def _mean(values: Sequence[float | bool]) -> float | None:
  return round(float(np.mean(values)), 3) if len(values) else None
