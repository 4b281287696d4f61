# SPDX-License-Identifier: Apache-2.0
"""Whose pages are where: tables by key, references, and who makes room.

    lease = tables.lease("u7", chain)     what is there of a row, and where the
                                          rest may be put
    ... lease.read, lease.write ...
    tables.commit(lease)  or  abandon     it is the key's table, or was nothing

A table holds a row from its first token on, one page after the other; the last
page may not be full. What is reused is verified by digests (chain.py): the
longest run of pages that still are what the row is. Pages behind it are free at
once. Pages have references, of tables and of leases that are not closed. One
that only its table holds is written where it lies, behind what it holds; one
that others read is copied, that is, it is written somewhere else.

Where there is no room, the table that was leased longest ago goes, all of it;
never one with an open lease. Nothing here knows what lies in the pages.
"""

import collections
from collections.abc import Hashable, Iterable
import dataclasses
from typing import NamedTuple

from genrec_jax.paging.chain import Chain


class Page(NamedTuple):
  """A page of a table.

  Attributes:
    place: which page it is.
    count: tokens in it.
    digest: of them and of all before.
    mark: see Chain.
  """

  place: int
  count: int
  digest: bytes
  mark: float


@dataclasses.dataclass(eq=False)
class Lease:
  """A row that is being read, and may become its key's table.

  Attributes:
    key: whose row.
    reused: tokens of it that are there.
    read: places of the pages that hold them, in order.
    write: places for the row's pages from page `reused // page_size` on; () if
      nothing is to be written, or there is no room.
    pages: the table that it becomes; None without room.
    held: places that it has references to.
    void: its key was forgotten meanwhile.
  """

  key: Hashable
  reused: int
  read: tuple[int, ...]
  write: tuple[int, ...]
  pages: tuple[Page, ...] | None
  held: tuple[int, ...]
  void: bool = False


class PageTables:
  """See the module docstring. No thread may use it while another one does.

  Attributes:
    num_pages: in all.
    page_size: tokens of a page.
    evictions: tables that went to make room.
  """

  def __init__(self, num_pages: int, page_size: int):
    if num_pages < 1 or page_size < 1:
      raise ValueError(
        f"num_pages={num_pages} and page_size={page_size} must be at least 1."
      )
    self.num_pages, self.page_size = num_pages, page_size
    self.evictions = 0
    self._free = list(range(num_pages))[::-1]
    self._references = [0] * num_pages
    # Leased longest ago first.
    self._tables: collections.OrderedDict[Hashable, tuple[Page, ...]] = (
      collections.OrderedDict()
    )
    self._open: dict[Hashable, list[Lease]] = {}

  def __len__(self) -> int:
    """Keys that have a table."""
    return len(self._tables)

  @property
  def num_free(self) -> int:
    """Pages that nobody has."""
    return len(self._free)

  @property
  def keys(self) -> tuple[Hashable, ...]:
    """Those that have a table; leased longest ago first."""
    return tuple(self._tables)

  def pages_of(self, key: Hashable) -> tuple[Page, ...]:
    """A key's table; () where there is none."""
    return self._tables.get(key, ())

  def references(self, place: int) -> int:
    """Tables and leases that have a page."""
    return self._references[place]

  def match(self, key: Hashable, chain: Chain) -> int:
    """Tokens of a row that are there."""
    reused, total = 0, len(chain)
    for number, page in enumerate(self.pages_of(key)):
      end = number * self.page_size + page.count
      if end > total or chain.digest(number, page.count) != page.digest:
        break
      reused = end
    return reused

  def lease(self, key: Hashable, chain: Chain) -> Lease:
    """What is there of a row, and room for the rest of it.

    Args:
      key: whose row.
      chain: of it, with this page size.
    """
    reused = self.match(key, chain)
    old = self.pages_of(key)[: -(-reused // self.page_size)]
    self._set(key, old)
    read = tuple(page.place for page in old)
    self._hold(read)
    # Nobody makes room with what is being read.
    lease = Lease(key, reused, read, (), None, read)
    self._open.setdefault(key, []).append(lease)
    if reused == len(chain):
      lease.pages = old
      return lease
    whole = reused // self.page_size
    alone = len(old) > whole and self._references[read[-1]] == 2
    taken = self._take(chain.num_pages - whole - alone)
    if taken is None:
      return lease
    lease.write = (read[-1:] if alone else ()) + taken
    lease.held = read + taken
    new = (
      self._page(chain, number, place)
      for number, place in enumerate(lease.write, whole)
    )
    lease.pages = (*old[:whole], *new)
    return lease

  def commit(self, lease: Lease) -> None:
    """Makes a row its key's table, unless there was no room, or the key has
    been forgotten."""
    if lease.pages is not None and not lease.void:
      self._hold(page.place for page in lease.pages)
      self._set(lease.key, lease.pages, held=True)
    self.abandon(lease)

  def abandon(self, lease: Lease) -> None:
    """Ends a lease; the key's table is what it was."""
    mine = self._open[lease.key]
    mine.remove(lease)
    if not mine:
      del self._open[lease.key]
    self._release(lease.held)

  def cut(self, key: Hashable, mark: float) -> None:
    """Drops of a table the first page with such a mark or a larger one, and all
    behind it."""
    pages = self.pages_of(key)
    for number, page in enumerate(pages):
      if page.mark >= mark:
        self._set(key, pages[:number], touch=False)
        return

  def forget(self, key: Hashable) -> None:
    """Drops a table; rows that are being read do not become it either."""
    for lease in self._open.get(key, ()):
      lease.void = True
    self._set(key, ())

  def clear(self) -> None:
    """Forgets all keys."""
    for key in {*self._tables, *self._open}:
      self.forget(key)

  def _set(
    self,
    key: Hashable,
    pages: tuple[Page, ...],
    *,
    held: bool = False,
    touch: bool = True,
  ) -> None:
    """Gives a key a table in place of its own.

    Args:
      key: whose.
      pages: of the table; () = it has none.
      held: the table's references to them are counted already.
      touch: it is the one that was leased last.
    """
    old = self.pages_of(key)
    if not held:
      self._hold(page.place for page in pages)
    if pages:
      self._tables[key] = pages
      if touch:
        self._tables.move_to_end(key)
    else:
      self._tables.pop(key, None)
    self._release(page.place for page in old)

  def _page(self, chain: Chain, number: int, place: int) -> Page:
    count = min(self.page_size, len(chain) - number * self.page_size)
    return Page(
      place, count, chain.digest(number, count), chain.mark(number, count)
    )

  def _take(self, count: int) -> tuple[int, ...] | None:
    """Free pages with a reference each; None where there cannot be so many."""
    if count > len(self._free) and count > self.num_pages - self._num_pinned():
      return None
    while len(self._free) < count:
      oldest = next(key for key in self._tables if key not in self._open)
      self._set(oldest, ())
      self.evictions += 1
    taken = tuple(self._free.pop() for _ in range(count))
    self._hold(taken)
    return taken

  def _num_pinned(self) -> int:
    """Pages of open leases, and of tables that have one."""
    pinned = set()
    for key, leases in self._open.items():
      pinned |= {page.place for page in self.pages_of(key)}
      pinned |= {place for lease in leases for place in lease.held}
    return len(pinned)

  def _hold(self, places: Iterable[int]) -> None:
    for place in places:
      self._references[place] += 1

  def _release(self, places: Iterable[int]) -> None:
    for place in places:
      self._references[place] -= 1
      if not self._references[place]:
        self._free.append(place)
