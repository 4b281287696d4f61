# SPDX-License-Identifier: Apache-2.0
"""One thread that asks models, and the queue in front of it.

    engine.start()
    future = engine.submit(served, ask, deadline)      or Refused, at once
    future.result()                                    Done, or Refused

The queue is bounded, and what cannot be answered before its deadline is turned
away where it would enter. The thread takes the oldest request and what is of
its kind, waits a moment for more, drops those that are late or that nobody
waits for, and asks the model once. Where that fails, each request of the batch
is asked alone, and further down the ladder where it fails alone as well: what
one of them does to the model the others do not notice.

A batch is of one model: another one takes over between two batches, and what
was asked of the one before is answered by it.
"""

import collections
from collections.abc import Hashable, Sequence
import concurrent.futures
import dataclasses
import logging
import threading
import time
from typing import Any, Protocol, runtime_checkable

from genrec_jax.core.finite import NotFinite
from genrec_jax.service import ladder
from genrec_jax.service.ladder import Ladder
from genrec_jax.service.metrics import Metrics
from genrec_jax.service.refused import Refused, late

THREAD = "model"
LOAD, NOT_FINITE, MODEL_ERROR = "load", "not_finite", "model_error"
# Weight of the last batch in what a batch is expected to take.
_NEWEST = 0.2
_LOG = logging.getLogger("genrec_jax.service")


@runtime_checkable
class Answers(Protocol):
  """A model as the engine sees it."""

  max_batch: int

  def steps(self, ask: Any) -> Sequence[str]:
    """Of the ladder, those that an ask has."""

  def answer(self, asks: Sequence[Any], step: str) -> Sequence[Any]:
    """An answer of each, in order."""


@dataclasses.dataclass(frozen=True)
class EngineOptions:
  """How much waits, and how long.

  Attributes:
    max_queue: requests that wait.
    max_wait_seconds: a batch that is not full waits so long for more.
    stuck_seconds: after which a batch that is not done counts as stuck.
    ladder: what is left out under load.
  """

  max_queue: int = 256
  max_wait_seconds: float = 0.002
  stuck_seconds: float = 10.0
  ladder: Ladder = Ladder()

  def __post_init__(self):
    if self.max_queue < 1:
      raise ValueError(f"max_queue={self.max_queue} must be at least 1.")


@dataclasses.dataclass(frozen=True)
class Done:
  """An answer and how it came about.

  Attributes:
    answer: the model's.
    step: of the ladder.
    why: the step is not the first because of this; None where it is.
    queue_seconds: waited for the model.
    model_seconds: the batch took.
  """

  answer: Any
  step: str
  why: str | None
  queue_seconds: float
  model_seconds: float


@dataclasses.dataclass(eq=False)
class _Ticket:
  model: Answers
  ask: Any
  deadline: float
  submitted: float
  future: concurrent.futures.Future

  @property
  def key(self) -> Hashable:
    return id(self.model), self.ask.kind


class Engine:
  """See the module docstring. Times are of time.monotonic()."""

  def __init__(self, options: EngineOptions, metrics: Metrics):
    self._options, self._metrics = options, metrics
    self._queue: collections.deque[_Ticket] = collections.deque()
    self._changed = threading.Condition()
    self._closing = False
    self._busy_since: float | None = None
    self._batch_seconds = 0.0
    self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)

  def __len__(self) -> int:
    """Requests that wait."""
    return len(self._queue)

  @property
  def closing(self) -> bool:
    """It takes no more requests."""
    return self._closing

  @property
  def stuck(self) -> bool:
    """A batch takes longer than any should."""
    since = self._busy_since
    return since is not None and (
      time.monotonic() - since > self._options.stuck_seconds
    )

  def start(self) -> None:
    """Starts the thread."""
    self._thread.start()

  def drain(self) -> None:
    """Takes no more requests; what waits is answered."""
    with self._changed:
      self._closing = True
      self._changed.notify_all()

  def close(self, timeout_seconds: float = 30.0) -> None:
    """Drains, waits for the end, and refuses what is left after that."""
    self.drain()
    if self._thread.is_alive():
      self._thread.join(timeout_seconds)
    with self._changed:
      left, self._queue = [*self._queue], collections.deque()
    for ticket in left:
      if ticket.future.set_running_or_notify_cancel():
        ticket.future.set_exception(_draining())

  def admit(self, deadline: float) -> None:
    """Raises a Refused where a request would be turned away now."""
    with self._changed:
      refusal = self._refusal(deadline)
    if refusal is not None:
      raise refusal

  def submit(
    self, model: Answers, ask: Any, deadline: float
  ) -> concurrent.futures.Future:
    """Puts a request into the queue.

    Raises:
      Refused: it is full, or too long, or nothing is taken any more.
    """
    now = time.monotonic()
    future: concurrent.futures.Future = concurrent.futures.Future()
    with self._changed:
      refusal = self._refusal(deadline)
      if refusal is None:
        self._queue.append(_Ticket(model, ask, deadline, now, future))
        self._changed.notify_all()
    if refusal is not None:
      raise refusal
    return future

  def expected_wait(self) -> float:
    """Seconds until a request that came now would be computed."""
    now = time.monotonic()
    since = self._busy_since
    left = 0.0
    if since is not None:
      left = max(0.0, since + self._batch_seconds - now)
    # The thread may put another queue in its place.
    queue = self._queue
    # Of one kind and model they share batches; of several they wait longer.
    size = queue[0].model.max_batch if queue else 1
    return left + len(queue) // size * self._batch_seconds

  def _refusal(self, deadline: float) -> Refused | None:
    if self._closing:
      return _draining()
    wait = self.expected_wait()
    if len(self._queue) >= self._options.max_queue:
      return Refused(
        503,
        "queue_full",
        f"{len(self._queue)} requests wait, as many as may: ask later.",
        wait,
      )
    if wait and time.monotonic() + wait > deadline:
      return Refused(
        503,
        "too_slow",
        f"requests wait {wait * 1000:.0f} ms, longer than this one may.",
        wait,
      )
    return None

  def _run(self) -> None:
    while (taken := self._next()) is not None:
      tickets, waiting = taken
      try:
        self._work(tickets, waiting)
      except BaseException as error:
        # Whatever it is, nobody waits for ever, and the next batch has a go.
        _LOG.exception("the engine failed")
        for ticket in tickets:
          if not ticket.future.done():
            ticket.future.set_exception(_failed(error))
      finally:
        self._busy_since = None

  def _next(self) -> tuple[list[_Ticket], int] | None:
    """The next batch, and how many waited with it; None at the end."""
    with self._changed:
      while not self._queue:
        if self._closing:
          return None
        self._changed.wait()
      first = self._queue[0]
      until = first.submitted + self._options.max_wait_seconds
      while len(mine := self._alike(first)) < first.model.max_batch:
        left = until - time.monotonic()
        if left <= 0 or self._closing:
          break
        self._changed.wait(left)
      waiting = len(self._queue)
      taken = {id(ticket) for ticket in mine}
      self._queue = collections.deque(
        ticket for ticket in self._queue if id(ticket) not in taken
      )
      self._busy_since = time.monotonic()
    return mine, waiting

  def _alike(self, first: _Ticket) -> list[_Ticket]:
    """The oldest request and those of its kind, up to a batch."""
    found = [ticket for ticket in self._queue if ticket.key == first.key]
    return found[: first.model.max_batch]

  def _work(self, tickets: list[_Ticket], waiting: int) -> None:
    alive = [ticket for ticket in tickets if self._is_wanted(ticket)]
    if not alive:
      return
    model = alive[0].model
    steps = model.steps(alive[0].ask)
    step = self._options.ladder.step(waiting, self._options.max_queue, steps)
    started = time.monotonic()
    try:
      answers = model.answer([ticket.ask for ticket in alive], step)
      found = [(answer, step, None) for answer in answers]
    except Exception as error:
      self._say(error, len(alive))
      found = [self._alone(ticket, below(step, steps)) for ticket in alive]
    ended = time.monotonic()
    seconds = ended - started
    before = self._batch_seconds or seconds
    self._batch_seconds = before + _NEWEST * (seconds - before)
    self._metrics.batch(len(alive), seconds)
    for ticket, one in zip(alive, found, strict=True):
      waited = started - ticket.submitted
      self._metrics.queued(waited)
      if isinstance(one, Refused):
        ticket.future.set_exception(one)
        continue
      answer, taken, why = one
      if why is None and taken != ladder.FULL:
        why = LOAD
      ticket.future.set_result(Done(answer, taken, why, waited, seconds))

  def _is_wanted(self, ticket: _Ticket) -> bool:
    """Whether somebody waits for a request, and it is not late."""
    if not ticket.future.set_running_or_notify_cancel():
      return False
    if time.monotonic() < ticket.deadline:
      return True
    ticket.future.set_exception(late())
    return False

  def _alone(
    self, ticket: _Ticket, steps: Sequence[str]
  ) -> tuple[Any, str, str | None] | Refused:
    """The answer of one request by itself, and why it took its step."""
    why, last = None, None
    for step in steps:
      # Others may have taken the time that there was.
      if time.monotonic() >= ticket.deadline:
        return late()
      try:
        (answer,) = ticket.model.answer([ticket.ask], step)
        return answer, step, why
      except Exception as error:
        last = error
        found = NOT_FINITE if isinstance(error, NotFinite) else MODEL_ERROR
        if found == NOT_FINITE and why != NOT_FINITE:
          self._metrics.nan(1)
        why = found
    return _failed(last)

  def _say(self, error: Exception, count: int) -> None:
    _LOG.error(
      "a batch of %d failed, each is asked alone: %s: %s",
      count,
      type(error).__name__,
      str(error)[:500],
    )


def below(step: str, steps: Sequence[str]) -> list[str]:
  """Of the steps those from this one on."""
  return [*steps[list(steps).index(step) :]]


def _draining() -> Refused:
  return Refused(503, "draining", "the service is ending: ask another.", 1.0)


def _failed(error: BaseException | None) -> Refused:
  return Refused(
    503,
    MODEL_ERROR,
    f"the model fails on this request ({type(error).__name__}).",
  )
