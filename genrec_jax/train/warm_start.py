# SPDX-License-Identifier: Apache-2.0
"""Starting from a trained model whose catalogue was smaller.

Tables indexed by item (system.item_tables names them) are carried over by
item id: an item that the old catalogue has keeps its row, a new one keeps its
fresh initial row, one that is gone is left behind. All other arrays must have
the same shapes and are taken as they are, but for data that lie with the
parameters (core/model_seams.py: ConstantModel), which are the new catalogue's.
The optimizer starts anew.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np


@dataclasses.dataclass(frozen=True)
class CarriedOver:
  """What a warm start did: items kept, new items, items left behind."""

  kept: int
  new: int
  gone: int


def match_items(
  old_ids: Sequence[str], new_ids: Sequence[str]
) -> tuple[Int[np.ndarray, "K"], Int[np.ndarray, "K"]]:
  """Rows of the old and of the new table that hold the same item.

  Args:
    old_ids: item ids by row; row 0 is padding.
    new_ids: likewise.
  """
  old_row = {name: row for row, name in enumerate(old_ids) if row}
  pairs = [
    (old_row[name], row)
    for row, name in enumerate(new_ids)
    if row and name in old_row
  ]
  both = np.array(pairs, np.int64).reshape(-1, 2)
  return both[:, 0], both[:, 1]


def carry_rows(
  before: Any,
  after: Any,
  rows: tuple[Int[np.ndarray, "K"], Int[np.ndarray, "K"]],
) -> np.ndarray:
  """A fresh table with the rows that an old one has too.

  Of items, or of anything whose rows have names: a table of tokens grows with
  `match_items(old.names, new.names)` of two grammars (data/token_grammar.py).

  Args:
    before: the old table.
    after: the fresh one, whose other rows stay.
    rows: of `match_items`.

  Raises:
    ValueError: rows of different shapes.
  """
  before, table = np.asarray(before), np.array(after)
  if before.shape[1:] != table.shape[1:]:
    raise ValueError(
      f"rows of {before.shape[1:]} cannot be carried into a table with rows of"
      f" {table.shape[1:]}."
    )
  old_rows, new_rows = rows
  table[new_rows] = before[old_rows]
  return table


def carry_over(
  old: Any,
  fresh: Any,
  old_ids: Sequence[str],
  new_ids: Sequence[str],
  item_tables: Sequence[tuple[str, ...]],
  constants: Sequence[str] = (),
) -> tuple[Any, CarriedOver]:
  """Fresh parameters with everything that the old ones know.

  Args:
    old: trained parameters, nested dicts.
    fresh: initial parameters for the new catalogue.
    old_ids: item ids by row of the old tables.
    new_ids: item ids by row of the fresh tables.
    item_tables: paths of the tables indexed by item.
    constants: paths of what stays as it is in the fresh ones.

  Raises:
    ValueError: another array differs in shape, or exists on one side only.
  """
  old_rows, new_rows = match_items(old_ids, new_ids)
  flat_old, flat_new = _flatten(old), _flatten(fresh)
  wrong = []
  result = {}
  for path in sorted(flat_old.keys() | flat_new.keys()):
    before, after = flat_old.get(path), flat_new.get(path)
    if before is None or after is None:
      side = "the old run" if after is None else "the new config"
      wrong.append(f"  {'/'.join(path)}: only in {side}")
    elif "/".join(path) in constants:
      result[path] = np.asarray(after)
    elif path in set(item_tables):
      if before.shape[1:] != after.shape[1:]:
        wrong.append(
          f"  {'/'.join(path)}: rows of {before.shape[1:]} and"
          f" {after.shape[1:]}"
        )
        continue
      result[path] = carry_rows(before, after, (old_rows, new_rows))
    elif before.shape != after.shape:
      wrong.append(f"  {'/'.join(path)}: {before.shape} and {after.shape}")
    else:
      result[path] = np.asarray(before)
  if wrong:
    raise ValueError(
      "cannot start from the old run, whose architecture differs (old and"
      " new):\n" + "\n".join(wrong)
    )
  facts = CarriedOver(
    kept=len(new_rows),
    new=len(new_ids) - 1 - len(new_rows),
    gone=len(old_ids) - 1 - len(old_rows),
  )
  return _unflatten(result), facts


def _flatten(tree: Any, prefix: tuple[str, ...] = ()) -> dict:
  if not isinstance(tree, dict):
    return {prefix: tree}
  parts = (_flatten(value, (*prefix, key)) for key, value in tree.items())
  return {path: leaf for part in parts for path, leaf in part.items()}


def _unflatten(flat: dict) -> dict:
  tree: dict = {}
  for path, leaf in flat.items():
    node = tree
    for key in path[:-1]:
      node = node.setdefault(key, {})
    node[path[-1]] = leaf
  return tree
