# SPDX-License-Identifier: Apache-2.0
"""A cache of histories in pages on the models' device (history_cache.py).

    Service(store, cache=PagedCache(PagedOptions(megabytes=512), shapes))

Every version that can go on with histories has pages of its own, and one that
ranks what another finds has too; those of a version that is unloaded go with
it. Who cannot (service/resumption.py) reads all of a history at every request,
and `genrec_cache_requests_total{outcome="model"}` counts it.

What is told of changes only makes room: what is reused is verified by digests
(paged_plan.py) when it is read, whatever was told.
"""

import collections
import dataclasses
import functools
import threading

from genrec_jax.data.dataset.requests import Requests
from genrec_jax.service.history_cache import MODEL, Reading
from genrec_jax.service.paged_reader import PagedOptions, PagedReader
from genrec_jax.service.paged_search import PagedScores, PagedSearch
from genrec_jax.service.shapes import Shapes
from genrec_jax.serving.ranker import Ranker

_SECOND = 10**6


class PagedCache:
  """See the module docstring."""

  def __init__(self, options: PagedOptions, shapes: Shapes | None = None):
    """Args:
    options: of the pages of each model.
    shapes: of the service; None = as usual.
    """
    self._options, self._shapes = options, shapes or Shapes()
    self._lock = threading.Lock()
    # Readers of a version, and the epoch of their times.
    self._readers: dict[str, list[tuple[PagedReader, int]]] = {}
    self._gone: collections.Counter[str] = collections.Counter()

  def open(self, model: str, reading: Reading) -> Reading:
    """See HistoryCache.

    Raises:
      ValueError: there is no room for a page of it.
    """
    mine: list[tuple[PagedReader, int]] = []
    warms = []

    def reader_of(resumption, sizes, what):
      made = PagedReader(
        resumption,
        self._options,
        sizes,
        self._shapes.histories,
        f"{model}/{what}".encode(),
      )
      mine.append((made, resumption.epoch_seconds))
      return made

    searches, ranker, scored = reading.searches, reading.ranker, None
    if searches and reading.lists is not None:
      reader = reader_of(reading.lists, sorted(searches), "lists")
      paged = PagedSearch(searches, reading.lists, reader)
      searches = dict.fromkeys(searches, paged)
      warms.append(paged.warm)
    if ranker is not None and reading.scores is not None:
      kept = PagedScores(reader_of(reading.scores, (1,), "scores"))
      scorer = dataclasses.replace(ranker.scorer, kept_fn=kept)
      ranker = Ranker(scorer, ranker.tasks, ranker.histories, ranker.value)
      warms.append(functools.partial(kept.warm, scorer))

      def scored():
        return kept.reused

    def warm(requests: Requests) -> None:
      for one in warms:
        one(requests)

    with self._lock:
      self._readers[model] = mine
    return dataclasses.replace(
      reading,
      searches=searches,
      ranker=ranker,
      warm=warm,
      scored=scored,
      why=MODEL,
    )

  def changed(self, user: str, microseconds: int) -> None:
    """See HistoryCache."""
    for reader, epoch in self._all():
      with reader.lock:
        reader.tables.cut(user, float(microseconds // _SECOND - epoch))

  def forget(self, user: str) -> None:
    """See HistoryCache; what lay in pages stays there until they are written
    again, and nobody reads it."""
    for reader, _ in self._all():
      with reader.lock:
        reader.tables.forget(user)

  def retire(self, model: str) -> None:
    """See HistoryCache; requests that wait are answered yet."""
    with self._lock:
      gone = self._readers.pop(model, [])
      for reader, _ in gone:
        self._gone["evictions"] += reader.tables.evictions
        self._gone["waits"] += reader.waits

  def figures(self) -> dict[str, float]:
    """See HistoryCache."""
    found = {"pages": 0, "pages_used": 0, **self._gone}
    found = collections.Counter(found)
    for reader, _ in self._all():
      with reader.lock:
        tables = reader.tables
        found["pages"] += tables.num_pages
        found["pages_used"] += tables.num_pages - tables.num_free
        found["evictions"] += tables.evictions
        found["waits"] += reader.waits
    return {name: float(value) for name, value in found.items()}

  def _all(self) -> list[tuple[PagedReader, int]]:
    with self._lock:
      return [one for mine in self._readers.values() for one in mine]
