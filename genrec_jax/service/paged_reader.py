# SPDX-License-Identifier: Apache-2.0
"""Reads histories of one model, of which pages on its device hold a part.

    reader.over(batch, keys, answer)
      of each group of rows: answer(group);  reader.run(finish, group.arrays)

Keys and values of all layers lie in arrays of pages. A program gathers those of
its rows, has the model go on from there, and puts the new ones where they are
to lie. Programs are of few shapes: rows of a group; places that are new; pages
that are read. What has nothing there, or more that is new than there is room
for, is read from its beginning. All is compiled by `warm`.

A page may lie behind a row's own places with anything in it, of whomever it was
before: what is not a row's own is 0 before anything is computed with it.

Rows of one key are read one after the other, so the second finds what the first
has left. Pages that are read are nobody else's meanwhile. Beams and candidates
go on behind what was read, in arrays of their own: they never write a page.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
import dataclasses
import threading
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int
import numpy as np

from genrec_jax.core.finite import NotFinite
from genrec_jax.ops.pages import gather_pages, put_pages
from genrec_jax.paging import Lease, PageTables
from genrec_jax.service import paged_plan
from genrec_jax.service.asks import Reused
from genrec_jax.service.history_cache import (
  ABSENT,
  CHANGED,
  MANY_NEW,
  NOBODY,
)
from genrec_jax.service.paged_plan import Arrays, Row
from genrec_jax.service.resumption import Finish, Resumption
from genrec_jax.service.shapes import at_least


@dataclasses.dataclass(frozen=True)
class PagedOptions:
  """How much is kept, and in what shapes.

  Attributes:
    megabytes: of device memory (10^6 bytes) for the pages of a model.
    page: places of a page.
    new: places that are new, ascending; rows with more are read anew.
  """

  megabytes: float | int
  page: int = 16
  new: tuple[int, ...] = (4, 32)

  def __post_init__(self):
    if not self.megabytes > 0 or self.page < 1:
      raise ValueError(
        f"megabytes={self.megabytes} and page={self.page} must be positive."
      )
    if not self.new or sorted({*self.new}) != [*self.new] or self.new[0] < 1:
      raise ValueError(
        f"new={self.new} must be positive whole numbers that ascend."
      )


@dataclasses.dataclass(frozen=True)
class Group:
  """Rows that one program reads.

  Attributes:
    rows: numbers of requests.
    size: rows that the program is made for.
    arrays: what it is given, beside parameters and pages.
  """

  rows: Int[np.ndarray, "n"]
  size: int
  arrays: dict[str, Any]


class PagedReader:
  """See the module docstring. One thread at a time reads; any may tell of
  changes.

  Attributes:
    tables: which page is whose; to be used under `lock`.
    lock: of them.
    waits: rows that another one of their key was read before.
    page_bytes: of a page, in all layers.
  """

  def __init__(
    self,
    resumption: Resumption,
    options: PagedOptions,
    sizes: Sequence[int],
    lengths: Sequence[int],
    salt: bytes = b"",
  ):
    """Takes the memory of the pages.

    Args:
      resumption: of the model.
      options: how much, and in what shapes.
      sizes: rows of a program, ascending.
      lengths: places of histories that are tried by `warm`.
      salt: what tells this model from others.

    Raises:
      ValueError: there is no room for one page.
    """
    self._resumption, self._options = resumption, options
    self._sizes, self._salt = tuple(sizes), salt
    self._loaded = resumption.loaded
    self._where = jax.tree.leaves(self._loaded.params)[0].sharding
    rows = self._rows_of_example()
    places = resumption.example["segment_ids_BL"].shape[1]
    # Backbones may have several tokens of a place.
    per_place = {x.shape[1] // places for x in jax.tree.leaves(rows)}
    (self._per_place,) = per_place
    self._page_shapes = jax.tree.map(self._page_shape, rows)
    self.page_bytes = sum(
      x.dtype.itemsize * x.size for x in jax.tree.leaves(self._page_shapes)
    )
    num_pages = int(options.megabytes * 1e6) // self.page_bytes
    if not num_pages:
      raise ValueError(
        f"megabytes={options.megabytes:g} hold no page of this model: one of"
        f" {options.page} events takes {self.page_bytes:,} bytes."
      )
    self.tables = PageTables(num_pages, options.page)
    self.lock, self.waits = threading.Lock(), 0
    self._lengths = self._row_lengths(lengths, places)
    self._pages = self._empty()
    self._programs: dict[Finish, Callable[..., Any]] = {}

  def over(
    self,
    batch: Arrays,
    keys: Sequence[Hashable],
    answer: Callable[[Group], None],
  ) -> list[Reused]:
    """Has the rows of a batch read and answered; what was there of each.

    Args:
      batch: arrays of whole histories.
      keys: whose they are; None = nobody's, who leaves nothing.
      answer: is given each group, and has `run` read it.
    """
    page = self._options.page
    rows = paged_plan.rows_of(batch, keys, page, self._salt)
    for number, turn in enumerate(paged_plan.in_turns(rows)):
      with self.lock:
        self.waits += len(turn) if number else 0
        for row in turn:
          if row.key is not None:
            row.known = len(self.tables.pages_of(row.key)) > 0
            row.lease = self.tables.lease(row.key, row.chain)
      leases = [row.lease for row in turn if row.lease is not None]
      try:
        for group in self._groups(turn, batch):
          answer(group)
      except BaseException as error:
        with self.lock:
          for lease in leases:
            self.tables.abandon(lease)
          if not isinstance(error, NotFinite):
            # Whatever it is, the pages may be gone with it.
            self.tables.clear()
            self._pages = self._empty()
        raise
      with self.lock:
        for lease in leases:
          self.tables.commit(lease)
    return [self._reused(row) for row in rows]

  def run(self, finish: Finish, arrays: dict[str, Any], *more: Any) -> Any:
    """What `finish` makes of what the model says of a group.

    Args:
      finish: traced within the program; the same one for the same program.
      arrays: of the group.
      more: arguments of `finish`.
    """
    with self._loaded.in_force():
      found, self._pages = self._program(finish)(
        self._loaded.params, self._pages, arrays, *more
      )
    return found

  def dummies(self, batch: Arrays) -> Iterator[Group]:
    """A group of every shape, of the first two places of a row of more; it
    leaves nothing."""
    page = self._options.page
    (row,) = paged_plan.rows_of(batch, (None,), page, b"")
    row.count, row.lease = 2, Lease(None, 1, (0,), (), None, ())
    for size in self._sizes:
      whole = paged_plan.anew([row], batch, size)
      for length in self._lengths:
        mine = {name: x[:, :length] for name, x in whole.items()}
        yield self._group([row], size, {"batch": mine}, length)
        for new in self._options.new:
          pages = -(-length // page)
          rest = paged_plan.further([row], batch, size, new, pages, page)
          yield self._group([row], size, rest, new)

  def _groups(self, turn: Sequence[Row], batch: Arrays) -> Iterator[Group]:
    """Those that are read anew, and those that go on."""
    further = [row for row in turn if self._goes_on(row)]
    anew = [row for row in turn if not self._goes_on(row)]
    if anew:
      size = at_least(self._sizes, len(anew))
      mine = paged_plan.anew(anew, batch, size)
      mine = self._resumption.shortened(mine)
      length = mine["segment_ids_BL"].shape[1]
      yield self._group(anew, size, {"batch": mine}, length)
    if further:
      size, page = at_least(self._sizes, len(further)), self._options.page
      longest = max(row.count - row.reused for row in further)
      new = at_least(self._options.new, longest)
      read = max(row.reused for row in further)
      pages = -(-at_least(self._lengths, read) // page)
      arrays = paged_plan.further(further, batch, size, new, pages, page)
      yield self._group(further, size, arrays, new)

  def _group(self, rows, size: int, arrays, places: int) -> Group:
    kept = paged_plan.kept_in(
      rows, size, places, self._options.page, self.tables.num_pages
    )
    numbers = np.array([row.number for row in rows])
    return Group(numbers, size, {**arrays, **kept})

  def _goes_on(self, row: Row) -> bool:
    return 0 < row.reused and row.count - row.reused <= self._options.new[-1]

  def _reused(self, row: Row) -> Reused:
    if self._goes_on(row):
      return Reused(row.reused, row.count - row.reused)
    why = MANY_NEW if row.reused else CHANGED if row.known else ABSENT
    return Reused(0, row.count, NOBODY if row.key is None else why)

  # On the device.

  def _program(self, finish: Finish) -> Callable[..., Any]:
    if finish not in self._programs:
      self._programs[finish] = self._made(finish)
    return self._programs[finish]

  def _made(self, finish: Finish) -> Callable[..., Any]:
    method = self._resumption.method

    def read(params, pages, arrays, *more):
      ask = self._loaded.ask_of(params)
      kept, before = (), None
      if "read" in arrays:
        before = arrays["before"]
        kept = self._gathered(pages, arrays["read"], before["segment_ids_BL"])
      started, rows = ask(kept, before, arrays["batch"], method=method)
      pages = jax.tree.map(
        lambda all_pages, row: put_pages(
          all_pages, row, arrays["first"], arrays["write"]
        ),
        pages,
        _as_pairs(rows),
      )
      return finish(ask, started, *more), pages

    return jax.jit(read, donate_argnums=1, out_shardings=self._where)

  def _gathered(self, pages, read_BR, segment_ids_BC):
    """Keys and values of each layer, 0 where a row has none of its own."""
    there_BT = jnp.repeat(segment_ids_BC > 0, self._per_place, axis=1)

    def of(all_pages):
      found = gather_pages(all_pages, read_BR)
      return jnp.where(there_BT[:, :, None, None], found, 0)

    return jax.tree.map(of, pages)

  def _rows_of_example(self) -> Any:
    """Shapes of keys and values of the longest row."""

    def read(params, batch):
      ask = self._loaded.ask_of(params)
      return ask((), None, batch, method=self._resumption.method)[1]

    with self._loaded.in_force():
      rows = jax.eval_shape(
        read, self._loaded.params, dict(self._resumption.example)
      )
    return _as_pairs(rows)

  def _page_shape(self, row: Any) -> jax.ShapeDtypeStruct:
    tokens = self._options.page * self._per_place
    return jax.ShapeDtypeStruct((tokens, *row.shape[2:]), row.dtype)

  def _empty(self) -> Any:
    return jax.tree.map(
      lambda x: jnp.zeros(
        (self.tables.num_pages, *x.shape), x.dtype, device=self._where
      ),
      self._page_shapes,
    )

  def _row_lengths(self, tried: Sequence[int], most: int) -> tuple[int, ...]:
    """Places of the rows that histories come in."""
    found = {most}
    for count in tried:
      batch = {
        name: np.repeat(x[:, :1], most, axis=1)
        for name, x in self._resumption.example.items()
      }
      batch["segment_ids_BL"] = (np.arange(most)[None] < count).astype(np.int32)
      short = self._resumption.shortened(batch)
      found.add(short["segment_ids_BL"].shape[1])
    return tuple(sorted(found))


def _as_pairs(rows: Any) -> tuple[tuple[Any, Any], ...]:
  return tuple((k, v) for k, v in rows)
