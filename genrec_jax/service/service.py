# SPDX-License-Identifier: Apache-2.0
"""A recommender service without HTTP: models, store, queue, answers.

    service = Service(store)
    service.start()
    service.load("v1", Source("runs/a"), promote=True)
    await service.recommend(Recommend(user_id="7", k=10))      a dict of JSON

app.py is HTTP around it. Answers name the version and the catalogue that they
come from. (Over 350 lines: what loads, answers and changes has these parts in
common.)
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
import contextlib
import dataclasses
import threading
import time
from typing import Any

from genrec_jax.core import seams
from genrec_jax.data.schema import Record
from genrec_jax.service import answers, golden
from genrec_jax.service.asker import Asked, Asker
from genrec_jax.service.compilations import Compilations
from genrec_jax.service.engine import Done, Engine, EngineOptions
from genrec_jax.service.history_cache import HistoryCache, NoCache
from genrec_jax.service.live_items import LiveItems
from genrec_jax.service.made_ahead import MadeAhead, ReadyOptions, is_plain
from genrec_jax.service.metrics import Metrics
from genrec_jax.service.opening import Opened, Source, open_source
from genrec_jax.service.ready_lists import ReadyLists
from genrec_jax.service.refused import Refused, late
from genrec_jax.service.shapes import Shapes
from genrec_jax.service.store import EventStore, ItemState
from genrec_jax.service.versions import Version, Versions
from genrec_jax.service.workers import Workers

# Threads that read for requests, and as many that write.
_THREADS = 4
# Seconds by which an event may be ahead of this machine's clock.
MOST_AHEAD = 86_400


@dataclasses.dataclass(frozen=True)
class ServiceOptions:
  """What is not the engine's.

  Attributes:
    deadline_seconds: of a request that names none.
    num_golden: users whose offline lists a version must give to be taken.
    most_events: of a history that is read, the latest ones.
    most_versions: that are loaded at a time.
    ready: when a list that was made ahead will do.
  """

  deadline_seconds: float = 1.0
  num_golden: int = 8
  most_events: int = 5000
  most_versions: int = 4
  ready: ReadyOptions = ReadyOptions()


class Service:
  """See the module docstring.

  Attributes:
    store: of events.
    metrics: what is counted.
    engine: the queue and its thread.
    versions: who answers whom.
    compilations: programs that were made since it is there.
  """

  def __init__(
    self,
    store: Any,
    *,
    options: ServiceOptions | None = None,
    engine: EngineOptions | None = None,
    shapes: Shapes | None = None,
    cache: HistoryCache | None = None,
    ready: ReadyLists | None = None,
    opener: Callable[..., Opened] = open_source,
  ):
    """Puts the parts together; nothing is loaded.

    Args:
      store: an EventStore, one's own or SqliteStore.
      options: None = as usual.
      engine: of the queue; None = as usual.
      shapes: what models are compiled for; None = as usual.
      cache: of histories; None keeps nothing.
      ready: lists that were made ahead; None = there are none.
      opener: from a source to a model, as open_source.

    Raises:
      ValueError: the store, the cache or the lists lack something.
    """
    seams.require(store, EventStore, "store")
    self._cache = NoCache() if cache is None else cache
    seams.require(self._cache, HistoryCache, "cache")
    self.store = store
    self._options = options or ServiceOptions()
    self._shapes = shapes or Shapes()
    self._open = opener
    self.metrics = Metrics()
    self._ahead = None
    if ready is not None:
      seams.require(ready, ReadyLists, "ready")
      self._ahead = MadeAhead(ready, store, self._options.ready, self.metrics)
    queue = engine or EngineOptions()
    self.engine = Engine(queue, self.metrics)
    # Writes wait for the disk, and are to keep nobody from reading.
    self._readers, self._writers = (
      Workers(name, threads=_THREADS, most_waiting=queue.max_queue)
      for name in ("reader", "writer")
    )
    self.metrics.watch_queue(self.engine.__len__)
    self.metrics.watch_cache(self._cache.figures)
    self.versions = Versions(self._options.most_versions)
    self.compilations = Compilations(self.metrics.compiled)
    self._stack = contextlib.ExitStack()
    self._loading, self._sharing = threading.Lock(), threading.Lock()
    self._items_lock = threading.RLock()
    self._items: dict[str, LiveItems] = {}

  def start(self) -> None:
    """Starts the engine; a model is yet to be loaded."""
    self._stack.enter_context(self.compilations)
    self.engine.start()

  def close(self, timeout_seconds: float = 30.0) -> None:
    """Answers what waits, and ends."""
    self.engine.close(timeout_seconds)
    self._readers.close()
    self._writers.close()
    self.store.close()
    self._stack.close()

  @property
  def why_not_ready(self) -> str:
    """Why it should not be asked; "" where it should."""
    if self.engine.closing:
      return "draining"
    if not self.versions.shares():
      return "not_ready"
    return "stuck" if self.engine.stuck else ""

  # Versions.

  def load(
    self, name: str, source: Source, *, promote: bool = False
  ) -> Version:
    """Opens a version, compiles it and compares it with its golden answers.

    Those that answer go on meanwhile. It may be asked by its name from then on.

    Raises:
      Refused: the name is taken, too many are loaded, or another one is being
        loaded.
      ValueError: it cannot be opened, or answers differently.
    """
    if not self._loading.acquire(blocking=False):
      raise Refused(409, "loading", "another version is being loaded.", 5.0)
    try:
      # Before all the work.
      self.versions.gone_for(name)
      opened = self._open(
        source, self._shapes, name=name, num_golden=self._options.num_golden
      )
      served = opened.served
      served.name = name
      try:
        served.keep(self._cache)
        version = self._compiled(opened, source)
        with self._items_lock:
          # There before anybody can name the version.
          self._items[name] = LiveItems.of(served.catalog, self.store.items())
          try:
            gone = self.versions.add(version)
          except Refused:
            del self._items[name]
            raise
          for other in gone:
            self._cache.retire(other)
            del self._items[other]
      except BaseException:
        self._cache.retire(name)
        raise
    finally:
      self._loading.release()
    if promote:
      # Its answers have just been compared.
      self._promote(name, 1.0)
    return version

  def _compiled(self, opened: Opened, source: Source) -> Version:
    """A version that has given its golden answers."""
    served = opened.served
    served.warm()
    parity = None
    if opened.golden:
      parity = golden.check(served, opened.golden)
    asker = Asker(served, self.store, self._options.most_events)
    asker.warm()
    return Version(
      served.name,
      served,
      asker,
      source,
      parity,
      tuple(opened.golden),
      opened.identity,
    )

  def promote(self, name: str, share: float = 1.0) -> None:
    """See Versions; its golden answers are asked for once more.

    Raises:
      Refused: as Versions does, or it answers differently from when it was
        loaded, or there is too much to do to ask. Nothing has changed then.
    """
    version = self.versions.get(name)
    try:
      golden.check_by_engine(self.engine, version.served, version.golden)
    except ValueError as error:
      raise Refused(409, "parity", str(error)) from error
    self._promote(name, share)

  def _promote(self, name: str, share: float) -> None:
    with self._sharing:
      self.versions.promote(name, share)
      self._tell_shares()

  def rollback(self, name: str) -> None:
    """See Versions."""
    with self._sharing:
      self.versions.rollback(name)
      self._tell_shares()

  def _tell_shares(self) -> None:
    self.metrics.shares(
      {
        (name, self.versions.get(name).served.catalogue): share
        for name, share in self.versions.shares().items()
      }
    )

  # Answers.

  async def recommend(self, body: Any) -> dict[str, Any]:
    """Answers a wire.Recommend.

    Raises:
      Refused: it gets no answer.
      ValueError: what is wrong of it.
    """
    started = time.monotonic()
    if self._ahead is not None and is_plain(body) and not self.engine.closing:
      version = self._version(body)
      told = await self._readers.do(
        self._ahead.answer,
        version,
        body,
        self._items_of(version),
        sum(share > 0 for share in self.versions.shares().values()) > 1,
        seconds=self._seconds(body),
      )
      if told is not None:
        return _timed(told, started)
    return await self._answer(body, Asker.listing, answers.of_list, started)

  async def rank(self, body: Any) -> dict[str, Any]:
    """Answers a wire.Rank; raises what `recommend` does."""
    started = time.monotonic()
    return await self._answer(body, Asker.ranking, answers.of_rank, started)

  async def _answer(
    self, body: Any, asked_of: Callable, told_of: Callable, started: float
  ) -> dict[str, Any]:
    """By the model, within what is left of the time since `started`."""
    deadline = started + self._seconds(body)
    version = self._version(body)
    self.engine.admit(deadline)
    items = self._items_of(version)
    left = deadline - time.monotonic()
    asked = await self._readers.do(
      asked_of, version.asker, body, items, seconds=left
    )
    self.metrics.history(len(asked.record["item"]), asked.unknown_items)
    done = await self._done(version, asked, deadline)
    told = told_of(version, body, asked, items, done)
    if told["reason"] is not None:
      self.metrics.degraded(told["reason"])
    if done is not None:
      self.metrics.nan(done.answer.dropped)
      self.metrics.reused(done.answer.reused)
      answers.count(self.metrics, version, done)
    return _timed(told, started)

  def _seconds(self, body: Any) -> float:
    """In which a request is to be answered."""
    if body.deadline_ms is None:
      return self._options.deadline_seconds
    return body.deadline_ms / 1000

  def _version(self, body: Any) -> Version:
    """By its name, or by the user's hash."""
    if not self.versions.shares():
      raise Refused(503, "not_ready", "no model answers yet: ask later.", 1.0)
    if body.model is not None:
      return self.versions.get(body.model)
    return self.versions.of(body.user_id or body.request_id or "")

  def _items_of(self, version: Version) -> LiveItems:
    """Its catalogue now; a Refused where it has just gone."""
    found = self._items.get(version.name)
    if found is None:
      text = f"version {version.name!r} is not loaded any more."
      raise Refused(404, "unknown_model", text)
    return found

  async def _done(
    self, version: Version, asked: Asked, deadline: float
  ) -> Done | None:
    """What the engine says; None where there is nothing to ask."""
    if asked.ask is None:
      return None
    future = self.engine.submit(version.served, asked.ask, deadline)
    left = max(0.0, deadline - time.monotonic())
    try:
      # A request that is given up here is not computed either.
      return await asyncio.wait_for(asyncio.wrap_future(future), left)
    except TimeoutError:
      raise late() from None

  # What changes.

  async def add_events(self, sent: Sequence[Any]) -> list[str]:
    """Keeps wire.SentEvents; says what became of each.

    Raises:
      NotStored: nothing is kept.
      ValueError: no model that answers could read one of them.
    """
    if self.engine.closing:
      raise Refused(503, "draining", "the service is ending: ask another.", 1.0)
    return await self._writers.do(self._add_events, sent)

  def _add_events(self, sent: Sequence[Any]) -> list[str]:
    now = time.time()
    for place, event in enumerate(sent):
      self._check(place, event)
      # Behind one of next year nothing could be asked until then.
      if event.time > now + MOST_AHEAD:
        raise ValueError(
          f"event {place}: time={event.time:.0f} is {event.time - now:.0f} s"
          f" from now, and clocks may differ by {MOST_AHEAD} s."
        )
    events = [event.kept() for event in sent]
    outcomes = self.store.append(events)
    for event, outcome in zip(events, outcomes, strict=True):
      self.metrics.event(outcome, now - event.microseconds / 1e6)
      self._cache.changed(event.user, event.microseconds)
    return outcomes

  def _check(self, place: int, event: Any) -> None:
    """Raises a ValueError where no version that answers can read an event."""
    last = None
    for name in self.versions.shares():
      try:
        self.versions.get(name).asker.check_event(event)
        return
      except ValueError as error:
        last = error
    if last is not None:
      raise ValueError(f"event {place}: {last}")

  async def forget(self, user: str) -> int:
    """Deletes a user; how many events there were."""
    return await self._writers.do(self._forget, user)

  def _forget(self, user: str) -> int:
    count = self.store.forget(user)
    self._cache.forget(user)
    return count

  async def put_items(self, items: Iterable[Any]) -> list[str]:
    """Keeps wire.Items; of each the versions that know it."""
    states = {
      item.id: ItemState(item.dead, dict(item.attributes)) for item in items
    }
    return await self._writers.do(self._put_items, states)

  def _put_items(self, states: dict[str, ItemState]) -> list[str]:
    with self._items_lock:
      loaded = self.versions.loaded()
      both = {**self.store.items(), **states}
      # Before anything is kept: a value may be none that an attribute can have.
      new = {v.name: LiveItems.of(v.served.catalog, both) for v in loaded}
      self.store.put_items(states)
      self._items.update(new)
    return [
      ",".join(v.name for v in loaded if len(v.served.catalog.known([item])))
      for item in states
    ]

  def look(self, user: str) -> tuple[Version, Record, LiveItems]:
    """For the page: who answers a user, and the history behind that."""
    version = self.versions.of(user)
    return version, version.asker.history(user), self._items_of(version)


def _timed(told: dict[str, Any], started: float) -> dict[str, Any]:
  """An answer that says how long it took."""
  told["timings_ms"]["total"] = (time.monotonic() - started) * 1000
  return told
