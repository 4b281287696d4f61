# SPDX-License-Identifier: Apache-2.0
"""What is read of pages and what anew, from arrays of batches alone."""

import numpy as np

from genrec_jax.core.roles import CONTEXT, EVENT
from genrec_jax.paging import PageTables
from genrec_jax.service import paged_plan

_PAGE, _L = 2, 8


def _batch(rows, **more):
  """Items of each row, left padded by their number of zeros."""
  item_BL = np.zeros((len(rows), _L), np.int32)
  for line, (pad, items) in enumerate(rows):
    item_BL[line, pad : pad + len(items)] = items
  there_BL = item_BL > 0
  time_BL = 10 * np.cumsum(there_BL, axis=1) * there_BL
  arrays = {
    "item_BL": item_BL,
    "segment_ids_BL": there_BL,
    "positions_BL": (np.cumsum(there_BL, axis=1) - 1) * there_BL,
    "time_BL": time_BL,
    "query_time_BL": time_BL + 10 * there_BL,
    "features_BLF": item_BL[:, :, None] * np.arange(3),
    "nothing_BLF": item_BL[:, :, None][:, :, :0],
    **more,
  }
  return {name: x.astype(np.int32) for name, x in arrays.items()}


def _digests(batch, salt=b""):
  rows = paged_plan.rows_of(batch, ("u",) * len(batch["item_BL"]), _PAGE, salt)
  return [[r.chain.digest(n, _PAGE) for n in range(2)] for r in rows]


def test_a_page_is_all_that_is_said_of_its_places():
  batch = _batch([(0, [1, 2, 3, 4, 5]), (3, [1, 2, 3, 4, 9])])
  same, padded = _digests(batch)
  # Neither padding nor the last place counts.
  assert same == padded
  assert _digests(batch, b"other")[0] != same
  for name, x in batch.items():
    if name == "segment_ids_BL" or not x.size:
      continue
    x = x.copy()
    x[0, 2] += 1
    changed = _digests({**batch, name: x})[0]
    assert changed[0] == same[0] and changed[1] != same[1], name


def test_what_is_seen_ahead_is_part_of_every_page():
  rows = [(0, [1, 2, 3, 4, 5, 6])] * 2
  role_BL = np.full((2, _L), EVENT)
  role_BL[:, :3] = CONTEXT
  limit_BL = np.full((2, _L), -1)
  limit_BL[:, :3] = 3
  batch = _batch(rows, role_BL=role_BL, limit_BL=limit_BL)
  # Places 0 and 1, whose page does not have place 2, see it.
  batch["item_BL"][1, 2] = 30
  first, second = _digests(batch)
  assert first[0] != second[0]
  batch["item_BL"][1, 2], batch["item_BL"][1, 3] = 3, 30
  first, second = _digests(batch)
  assert first[0] == second[0] and first[1] != second[1]
  # Context that sees all events, and a history that sees all of itself.
  for more in (
    {"role_BL": role_BL, "limit_BL": np.full((2, _L), -1)},
    {"limit_BL": np.full((2, _L), 6)},
  ):
    batch = _batch(rows, **more)
    batch["item_BL"][1, 5] = 30
    first, second = _digests(batch)
    assert first[0] != second[0]


def test_those_of_one_key_take_turns():
  batch = _batch([(0, [1, 2])] * 6)
  keys = ("a", None, "b", "a", None, "a")
  turns = paged_plan.in_turns(paged_plan.rows_of(batch, keys, _PAGE, b""))
  found = [[row.number for row in turn] for turn in turns]
  assert found == [[0, 1, 2, 4], [3], [5]]


def test_arrays_hold_what_is_there_what_is_new_and_where_it_goes():
  tables = PageTables(9, _PAGE)
  first = _batch([(1, [1, 2, 3, 4])])
  (row,) = paged_plan.rows_of(first, ("u",), _PAGE, b"")
  tables.commit(tables.lease("u", row.chain))
  batch = _batch([(0, [7, 8]), (2, [1, 2, 3, 4, 5, 6])])
  cold, warm = paged_plan.rows_of(batch, (None, "u"), _PAGE, b"")
  warm.lease = tables.lease("u", warm.chain)
  assert (cold.reused, warm.reused, warm.first, warm.count) == (0, 3, 2, 6)
  arrays = paged_plan.further([warm], batch, 2, 4, 3, _PAGE)
  assert arrays["batch"]["item_BL"].tolist() == [[4, 5, 6, 0], [0] * 4]
  assert arrays["batch"]["features_BLF"][0, 1].tolist() == [0, 5, 10]
  assert set(arrays["before"]) == {
    *("segment_ids_BL", "positions_BL", "time_BL", "query_time_BL")
  }
  assert arrays["before"]["time_BL"][0].tolist() == [10, 20, 30, 0, 0, 0]
  assert arrays["read"].tolist() == [[*warm.lease.read, 0], [0, 0, 0]]
  kept = paged_plan.kept_in([warm], 2, 4, _PAGE, 9)
  # The page that is not full is written where it lies, and one behind it.
  assert kept["first"].tolist() == [1, 0]
  assert kept["write"].tolist() == [
    [warm.lease.read[1], warm.lease.write[1], 9],
    [9, 9, 9],
  ]
  whole = paged_plan.anew([cold, warm], batch, 4)
  assert whole["item_BL"][:2, :6].tolist() == [
    [7, 8, 0, 0, 0, 0],
    [1, 2, 3, 4, 5, 6],
  ]
  assert not whole["segment_ids_BL"][2:].any()
