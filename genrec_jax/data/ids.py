# SPDX-License-Identifier: Apache-2.0
"""User and item ids of any type -> one text per id.

The rule: an id is its text, and a whole number written as a float is that
whole number, so 1, 1.0 and "1.0" are one id, while "007" and "7" are two.
Floats that are not whole are an error where the column is numeric (most
likely the wrong column), and plain text where the column is text.
Empty text, null and NaN are no id: such events are dropped and counted.

Text is interned while the file streams by (a Categorical with a registry of
its own), so a log of N events costs 4 bytes an id and not its text.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
import numpy as np
import polars as pl

# Above this a float64 no longer tells neighbouring whole numbers apart.
_EXACT = 2**53

# Column name -> Polars type; a pl.Schema is one.
Types = Mapping[str, Any]


def interned(name: str, types: Types) -> pl.Expr:
  """Expression that turns a column of ids into a Categorical.

  Raises:
    ValueError: a type that cannot be an id.
  """
  column, dtype = pl.col(name), types[name]
  if dtype.is_float():
    whole = column.is_finite() & (column.abs() < _EXACT)
    column = pl.when(whole).then(column).cast(pl.Int64, strict=False)
  elif not (
    dtype.is_integer() or dtype in (pl.String, pl.Null, pl.Categorical, pl.Enum)
  ):
    raise ValueError(
      f"column {name!r} has the type {dtype}; ids must be text or whole"
      " numbers."
    )
  return column.cast(pl.String).cast(pl.Categorical(pl.Categories.random()))


def not_whole(name: str, types: Types) -> pl.Expr | None:
  """Expression that marks values `interned` cannot take; None if there are
  none by type."""
  if not types[name].is_float():
    return None
  column = pl.col(name)
  wrong = (column != column.floor()) | (column.abs() >= _EXACT)
  return column.is_not_nan() & wrong


def canonical(text: pl.Series) -> pl.Series:
  """Text of ids under the rule above; no id is null."""
  text = text.str.replace(r"^(-?\d+)\.0*$", "${1}")
  return text.replace({"": None})


def codes(column: pl.Series) -> tuple[Int[np.ndarray, "E"], list[str]]:
  """Codes of a column of `interned` and the id behind each code.

  Returns:
    int32 codes (E,), -1 where there is no id, and the ids in sorted order.
  """
  present = column.drop_nulls().unique()
  text = canonical(present.cast(pl.String))
  names = text.drop_nulls().unique().sort()
  place = pl.DataFrame({"text": names}).with_row_index("code")
  found = pl.DataFrame({"text": text}).join(
    place, on="text", how="left", maintain_order="left"
  )
  physical = present.to_physical().to_numpy()
  # One more slot, which stays -1, stands for null.
  table = np.full(int(physical.max(initial=0)) + 2, -1, np.int32)
  table[physical] = found["code"].cast(pl.Int32).fill_null(-1).to_numpy()
  every = column.to_physical().fill_null(len(table) - 1).to_numpy()
  return table[every], names.to_list()
