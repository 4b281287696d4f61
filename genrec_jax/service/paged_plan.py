# SPDX-License-Identifier: Apache-2.0
"""From rows of histories to what a program is given: what is read of pages,
what is computed, and where that goes. NumPy alone.

    rows  = rows_of(batch, keys, page, salt)     what each row is, by digests
    turns = in_turns(rows)                  those of one key one after the other
    anew(...)  or  further(...)             arrays of few sizes
    kept_in(...)                            where rows go

A page has `page` places of a batch. Digests are over ALL that the batch says of
each place, so that a place whose item, action, time, position, or time of the
next event differs is another one; and over what is seen ahead of its place, as
a context in front is (ops/visible_keys.py). The last place of a row is never
kept: it asks at the request's own time, and is read by every request.
"""

from collections.abc import Hashable, Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core.roles import CONTEXT
from genrec_jax.paging import Chain, Lease

Arrays = Mapping[str, np.ndarray]
# What attention has to know of places that were read before.
_TOLD = ("segment_ids", "positions", "time", "query_time", "role", "limit")


@dataclasses.dataclass(eq=False)
class Row:
  """The history of a request.

  Attributes:
    number: of the request.
    first: its first place in the batch.
    count: its places.
    key: whose it is; None = nobody's.
    chain: of all places but the last.
    lease: pages; None of nobody's.
    known: there was a table of this key.
  """

  number: int
  first: int
  count: int
  key: Hashable
  chain: Chain
  lease: Lease | None = None
  known: bool = False

  @property
  def reused(self) -> int:
    """Places that are there."""
    return 0 if self.lease is None else self.lease.reused


def rows_of(
  batch: Arrays, keys: Sequence[Hashable], page: int, salt: bytes
) -> list[Row]:
  """The histories of a batch, contiguous in their rows.

  Args:
    batch: arrays (B, L, ...), of which segment_ids_BL says where places are.
    keys: whose they are.
    page: places of a page.
    salt: what else has to be equal.
  """
  there_BL = batch["segment_ids_BL"] > 0
  shape = there_BL.shape
  bytes_BLS = np.concatenate(
    [
      np.ascontiguousarray(x).reshape(*shape, -1).view(np.uint8)
      for _, x in sorted(batch.items())
      if x.size
    ],
    axis=2,
  )
  # The time of the next event counts too: a late one may come before it.
  times_BL = batch.get("query_time_BL", batch.get("time_BL"))
  found = []
  for number, key in enumerate(keys):
    count = int(there_BL[number].sum())
    first = int(there_BL[number].argmax())
    told_nS = bytes_BLS[number, first : first + count]
    ahead = _seen_ahead(batch, number, slice(first, first + count))
    kept = max(0, count - 1)
    marks = None
    if times_BL is not None:
      marks = times_BL[number, first : first + kept]
    seen = salt + told_nS[:ahead].tobytes()
    chain = Chain(told_nS[:kept], page, seen, marks)
    found.append(Row(number, first, count, key, chain))
  return found


def in_turns(rows: Sequence[Row]) -> list[list[Row]]:
  """Rows such that none of a turn is of another's key, but nobody's."""
  found: list[list[Row]] = []
  before: dict[Hashable, int] = {}
  for row in rows:
    turn = 0
    if row.key is not None:
      turn = before.get(row.key, -1) + 1
      before[row.key] = turn
    found += [[] for _ in range(turn + 1 - len(found))]
    found[turn].append(row)
  return found


def anew(
  rows: Sequence[Row], batch: Arrays, size: int
) -> dict[str, np.ndarray]:
  """Whole rows, left aligned.

  Args:
    rows: at most `size`.
    batch: that they are rows of.
    size: rows of the arrays.
  """
  length = batch["segment_ids_BL"].shape[1]
  whole = [(row.number, row.first, row.count) for row in rows]
  return _taken(batch, whole, size, length)


def further(
  rows: Sequence[Row], batch: Arrays, size: int, new: int, pages: int, page: int
) -> dict[str, Any]:
  """What reads the rest of rows: {"batch", "before", "read"}.

  Args:
    rows: at most `size`, with leases.
    batch: that they are rows of.
    size: rows of the arrays.
    new: places of the rest that there is room for.
    pages: that are read of a row.
    page: places of one.
  """
  told = {k: v for k, v in batch.items() if k.removesuffix("_BL") in _TOLD}
  old = [(row.number, row.first, row.reused) for row in rows]
  rest = [
    (row.number, row.first + row.reused, row.count - row.reused) for row in rows
  ]
  read = np.zeros((size, pages), np.int32)
  for line, row in enumerate(rows):
    read[line, : len(row.lease.read)] = row.lease.read
  return {
    "batch": _taken(batch, rest, size, new),
    "before": _taken(told, old, size, pages * page),
    "read": read,
  }


def kept_in(
  rows: Sequence[Row], size: int, places: int, page: int, nowhere: int
) -> dict[str, np.ndarray]:
  """Where rows go: {"first", "write"} of ops/pages.put_pages.

  Args:
    rows: at most `size`.
    size: rows of the arrays.
    places: of a row that are computed at most.
    page: places of a page.
    nowhere: a page that is none.
  """
  first = np.zeros(size, np.int32)
  write = np.full((size, (places + page - 2) // page + 1), nowhere, np.int32)
  for line, row in enumerate(rows):
    if row.lease is not None and row.lease.write:
      first[line] = row.reused // page
      write[line, : len(row.lease.write)] = row.lease.write
  return {"first": first, "write": write}


def _taken(
  batch: Arrays, wanted: Sequence[tuple[int, int, int]], size: int, length: int
) -> dict[str, np.ndarray]:
  """Places (row, first, count) of arrays, left aligned, the rest 0."""
  found = {}
  for name, x in batch.items():
    found[name] = np.zeros((size, length, *x.shape[2:]), x.dtype)
    for line, (row, first, count) in enumerate(wanted):
      found[name][line, :count] = x[row, first : first + count]
  return found


def _seen_ahead(batch: Arrays, number: int, places: slice) -> int:
  """How many first places some place sees that stands before their last."""
  if "limit_BL" not in batch and "role_BL" not in batch:
    return 0
  count = places.stop - places.start
  until: Int[np.ndarray, "n"] = np.arange(count) + 1
  reach = until
  if "role_BL" in batch:
    is_context = batch["role_BL"][number, places] == CONTEXT
    reach = np.where(is_context, count, reach)
  if "limit_BL" in batch:
    limit = batch["limit_BL"][number, places]
    reach = np.where(limit >= 0, limit, reach)
  return int(reach[reach > until].max(initial=0))
