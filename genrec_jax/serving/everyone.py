# SPDX-License-Identifier: Apache-2.0
"""Lists of all users: asked in the order of their length, told in their own.

    for requests, found in Everyone(histories, requests_of, found_of, 128): ...

Most histories are short. Of a window of some batches the users are sorted by
the length of their histories and asked in that order, so that a layout can make
short rows of most batches (`shortened`); then they are put back. The next
lists are searched for in a thread while the caller has the last ones. Memory is
that of two windows, however many users there are; what compilation has left is
given back (core/heap.py), batch by batch as long as there may be new programs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import concurrent.futures
import dataclasses
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from genrec_jax.core import heap
from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.schema import Record
from genrec_jax.serving.found import Found

# Batches of a window, and rows of a table.
_WINDOW = 32
_ROWS = 50_000
_T = TypeVar("_T")
_END = object()


@runtime_checkable
class ReadTogether(Protocol):
  """Histories of users by index, several at once."""

  def __len__(self) -> int: ...

  def many(self, users: Iterable[int]) -> list[Record]: ...


@dataclasses.dataclass(frozen=True)
class Everyone:
  """See the module docstring.

  Attributes:
    histories: of all users.
    requests_of: records -> what is asked behind them.
    found_of: up to batch_size requests -> their lists.
    batch_size: requests at a time.
  """

  histories: ReadTogether
  requests_of: Callable[[Sequence[Record]], Requests]
  found_of: Callable[[Requests], Found]
  batch_size: int

  def __iter__(self) -> Iterator[tuple[Requests, Found]]:
    """Requests and lists of some users, by user index."""
    heap.give_back()
    size = _WINDOW * self.batch_size
    for first in range(0, len(self.histories), size):
      stop = min(first + size, len(self.histories))
      requests = self.requests_of(self.histories.many(range(first, stop)))
      found = self._window(requests, compiles=not first)
      step = max(1, _ROWS // max(1, found.ids_BK.shape[1]))
      for start in range(0, len(requests), step):
        rows = np.arange(start, min(start + step, len(requests)))
        yield requests_at(requests, rows), found.at(rows)
      # Or they would stay until the next ones are whole.
      del requests, found

  def _window(self, requests: Requests, compiles: bool) -> Found:
    lengths = np.array([len(record["item"]) for record in requests.history])
    order = np.argsort(lengths, kind="stable")
    whole = None
    for start in range(0, len(requests), self.batch_size):
      rows = order[start : start + self.batch_size]
      found = self.found_of(requests_at(requests, rows))
      if whole is None:
        whole = found.room(len(requests))
      whole.put(rows, found)
      if compiles:
        heap.give_back()
    heap.give_back()
    return whole


def ahead(items: Iterator[_T]) -> Iterator[_T]:
  """The same items; a thread makes the next one while the last is used."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    coming = pool.submit(next, items, _END)
    while (item := coming.result()) is not _END:
      coming = pool.submit(next, items, _END)
      yield item
