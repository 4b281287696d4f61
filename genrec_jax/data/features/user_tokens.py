# SPDX-License-Identifier: Apache-2.0
"""Attributes of users as ids for a table: hashed, so none is unseen.

    id(name, value) = 1 + crc32("name=value") mod num_ids        0 = unknown

Two values share an id at times (one pair in num_ids); a list is one value. Rows
are user indices.
"""

from collections.abc import Sequence
import zlib

from jaxtyping import Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.prepare.attributes import scalars


def hashed_attributes(
  table: pl.DataFrame, names: Sequence[str], num_ids: int
) -> Int[np.ndarray, "U C"]:
  """Ids of attributes, one row per user; 0 where a value is missing, NaN too.

  Args:
    table: attributes by user index.
    names: columns of it.
    num_ids: ids run from 1 to num_ids.

  Raises:
    ValueError: an attribute that the data set lacks.
  """
  columns = []
  for name in names:
    if name not in table.columns:
      hint = choices_hint(name, table.columns) if table.columns else ""
      raise ValueError(f"users have no attribute {name!r}.{hint}")
    column = scalars(table[name])
    ids = {
      value: 1 + zlib.crc32(f"{name}={value}".encode()) % num_ids
      for value in column.unique().to_list()
    }
    ids[None] = 0
    columns.append([ids[value] for value in column.to_list()])
  return np.array(columns, np.int32).reshape(len(names), len(table)).T
