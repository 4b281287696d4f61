# SPDX-License-Identifier: Apache-2.0
"""Pages against a dict that holds what every page was last written with."""

import collections
import dataclasses

import jaxtyping
import numpy as np
import pytest

from genrec_jax.paging import Chain, PageTables

_SIZE = 4


def _chain(tokens, size=_SIZE, marks=None, salt=b""):
  rows = np.array(tokens, np.uint8).reshape(-1, 1)
  marks = None if marks is None else np.array(marks)
  return Chain(rows, size, salt, marks)


class _Memory:
  """What lies in pages; `read` and `write` are what a device would do."""

  def __init__(self, tables):
    self.tables, self.lying = tables, {}

  def read(self, lease, row):
    """The reused tokens, as they lie there, are the row's."""
    found = [t for place in lease.read for t in self.lying[place]]
    assert found[: lease.reused] == row[: lease.reused]

  def write(self, lease, row):
    """Whole pages of the row, as put_pages writes them."""
    size = self.tables.page_size
    start = lease.reused // size * size
    for number, place in enumerate(lease.write):
      first = start + number * size
      mine = row[first : first + size]
      self.lying[place] = mine + [None] * (size - len(mine))

  def serve(self, key, row, **more):
    """A request from begin to end; tokens that were there."""
    lease = self.tables.lease(key, _chain(row, **more))
    self.read(lease, row)
    self.write(lease, row)
    self.tables.commit(lease)
    return lease.reused


def _check(tables, memory, rows, leases=()):
  """No page is owned twice, none is lost, tables hold what was written."""
  held = [p for lease in leases for p in lease.held]
  count = np.zeros(tables.num_pages, int)
  np.add.at(count, held, 1)
  for key in tables.keys:
    pages = tables.pages_of(key)
    places = [page.place for page in pages]
    assert pages and len({*places}) == len(places)
    np.add.at(count, places, 1)
    full = [page.count for page in pages]
    assert full[:-1] == [tables.page_size] * (len(full) - 1) and full[-1] > 0
    found = [t for p in pages for t in memory.lying[p.place][: p.count]]
    # Of a row that has been seen, though maybe not of the last one.
    assert found == rows[key][: len(found)]
  assert count.tolist() == [
    tables.references(place) for place in range(tables.num_pages)
  ]
  assert tables.num_free == int((count == 0).sum())


def _expected(tables, key, kept, row):
  """Tokens of the longest run of whole pages that are still the row's."""
  total = sum(page.count for page in tables.pages_of(key))
  ends = [*range(_SIZE, total, _SIZE), total]
  return max((e for e in ends if kept[:e] == row[:e]), default=0)


def _changed(row, how, number):
  """A longer row, one with a late event, a shorter one, or the same."""
  at = number % (len(row) + 1)
  if how == 0:
    row = [*row, *([number % 251] * (number % 6))]
  elif how == 1:
    row = [*row[:at], number % 251, *row[at:]]
  elif how == 2:
    row = row[:at]
  # Too long: it begins elsewhere, so that nothing of it is there.
  return row if len(row) < 33 else row[15:]


@pytest.fixture
def unchecked(monkeypatch):
  """Types are not checked at every call, which takes longer than the calls."""
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_a_hundred_thousand_steps_are_those_of_a_dict(unchecked):
  """Appends, late events, shorter rows, leases that overlap or are given up,
  keys that are forgotten, in too little room: what is reused is always what
  the row is, and all pages come back."""
  steps, draw = 100_000, np.random.default_rng(0)
  tables = PageTables(28, _SIZE)
  memory, rows, kept, leases = _Memory(tables), {}, {}, []
  kinds = draw.choice(5, steps, p=[0.7, 0.13, 0.1, 0.05, 0.02])
  hows = draw.choice(4, steps, p=[0.6, 0.1, 0.1, 0.2])
  numbers = draw.integers(0, 2**16, (steps, 2)).tolist()
  found = collections.Counter()
  for step, (kind, how) in enumerate(
    zip(kinds.tolist(), hows.tolist(), strict=True)
  ):
    one, two = numbers[step]
    key = min(one % 24, one % 7)
    if kind < 2:
      rows[key] = row = _changed(rows.get(key, []), how, two)
      expected = _expected(tables, key, kept.get(key, []), row)
      chain = _chain(row)
      lease = tables.lease(key, chain)
      assert lease.reused == expected
      memory.read(lease, row)
      if kind == 1 and len(leases) < 3:
        leases.append((lease, row))
        continue
      memory.write(lease, row)
      tables.commit(lease)
      if lease.pages is not None:
        kept[key] = row
        assert tables.match(key, chain) == len(row)
        found["all" if expected == len(row) else bool(expected)] += 1
      else:
        found["no room"] += 1
    elif kind < 4 and leases:
      lease, row = leases.pop(two % len(leases))
      memory.read(lease, row)
      if kind == 3:
        tables.abandon(lease)
        continue
      memory.write(lease, row)
      tables.commit(lease)
      if lease.pages is not None and not lease.void:
        kept[lease.key] = row
    elif kind == 4:
      tables.forget(key)
      if not one % 50:
        tables.clear()
    if not step % 500:
      _check(tables, memory, kept, [lease for lease, _ in leases])
  assert len(found) == 4 and min(found.values()) > 100, found
  assert tables.evictions > 500
  for lease, _ in leases:
    tables.abandon(lease)
  tables.clear()
  assert tables.num_free == 28 and not len(tables)


def test_appended_tokens_are_all_that_is_new():
  tables = PageTables(8, _SIZE)
  memory = _Memory(tables)
  assert memory.serve("a", [1, 2, 3, 4, 5]) == 0
  before = tables.pages_of("a")
  assert memory.serve("a", [1, 2, 3, 4, 5, 6, 7]) == 5
  # Nobody else reads the page that is not full: it is written where it lies.
  assert [p.place for p in tables.pages_of("a")] == [p.place for p in before]
  assert memory.serve("a", [1, 2, 3, 4, 5, 6, 7]) == 7
  # A page is verified as a whole.
  assert memory.serve("a", [1, 2, 3, 4, 5, 9, 7]) == 4
  assert memory.serve("a", [1, 2, 9, 4, 5, 9, 7]) == 0
  assert memory.serve("a", [2, 2, 9, 4, 5, 9, 7], salt=b"v2") == 0
  assert memory.serve("a", [2, 2, 9, 4, 5, 9, 7], salt=b"v3") == 0
  assert tables.num_free == 6


def test_digests_tell_what_stands_in_pages_before():
  same = _chain([7, 7, 7, 7, 1, 2], salt=b"v")
  other = _chain([7, 7, 7, 8, 1, 2], salt=b"v")
  assert same.digest(1, 2) != other.digest(1, 2)
  assert same.digest(0, 3) == other.digest(0, 3) != same.digest(0, 2)
  assert same.digest(0, 4) != _chain([7] * 4, salt=b"w").digest(0, 4)


def test_a_page_that_others_read_is_copied():
  tables = PageTables(8, _SIZE)
  memory = _Memory(tables)
  memory.serve("a", [1, 2, 3, 4, 5])
  rows = [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7]
  first, second = (tables.lease("a", _chain(row)) for row in rows)
  assert first.read == second.read and first.reused == second.reused == 5
  assert first.write == first.read[1:]
  assert second.write != first.write
  assert tables.references(first.read[0]) == 3
  for lease, row in zip((first, second), rows, strict=True):
    memory.write(lease, row)
    memory.read(lease, row)
  tables.commit(first)
  memory.read(second, rows[1])
  tables.commit(second)
  assert memory.serve("a", rows[1]) == 6
  assert tables.num_free == 6


def test_who_was_asked_for_longest_ago_makes_room_and_never_who_is_read():
  tables = PageTables(4, _SIZE)
  memory = _Memory(tables)
  for key in "abcd":
    memory.serve(key, [ord(key)] * 3)
  memory.serve("a", [ord("a")] * 3)
  read = tables.lease("b", _chain([ord("b")] * 3))
  memory.serve("e", [5] * 3)
  assert tables.keys == ("d", "a", "b", "e")
  memory.serve("f", [6] * 8)
  assert tables.keys == ("b", "e", "f")
  memory.serve("h", [8])
  assert tables.keys == ("b", "f", "h")
  memory.read(read, [ord("b")] * 3)
  # Three pages are there for others, and no more.
  too_long = tables.lease("g", _chain([7] * 13))
  assert too_long.pages is None and too_long.write == ()
  tables.commit(too_long)
  assert tables.keys == ("b", "f", "h") and tables.evictions == 4
  tables.abandon(read)
  assert memory.serve("g", [7] * 13) == 0
  assert tables.keys == ("g",) and tables.num_free == 0


def test_a_forgotten_key_does_not_come_back_by_a_row_that_was_being_read():
  tables = PageTables(4, _SIZE)
  lease = tables.lease("a", _chain([1, 2]))
  tables.forget("a")
  tables.commit(lease)
  assert not len(tables) and tables.num_free == 4
  lease = tables.lease("a", _chain([1, 2]))
  tables.clear()
  tables.commit(lease)
  assert tables.num_free == 4


def test_a_late_event_cuts_what_lies_behind_it():
  tables = PageTables(8, _SIZE)
  memory = _Memory(tables)
  row, times = [*range(10)], [*range(0, 100, 10)]
  memory.serve("a", row, marks=times)
  tables.cut("b", 5.0)
  tables.cut("a", 91.0)
  assert len(tables.pages_of("a")) == 3
  tables.cut("a", 70.0)
  assert [p.count for p in tables.pages_of("a")] == [4]
  tables.cut("a", -5.0)
  assert not len(tables) and tables.num_free == 8
  # Without marks nothing is cut: digests tell.
  memory.serve("a", row)
  tables.cut("a", 0.0)
  assert tables.match("a", _chain(row)) == 10


def test_what_cannot_be_is_refused():
  with pytest.raises(ValueError, match="num_pages=0"):
    PageTables(0, 4)
  empty = PageTables(2, 2).lease("a", _chain([], size=2))
  assert empty.pages == () and dataclasses.asdict(empty)["read"] == ()
