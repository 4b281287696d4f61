# SPDX-License-Identifier: Apache-2.0
"""User and item ids of any type -> one text per id.

The rule: an id is its text, and a whole number written as a float is that
whole number, so 1, 1.0 and "1.0" are one id, while "007" and "7" are two.
Floats that are not whole are an error where the column is numeric (most
likely the wrong column), and plain text where the column is text.
Empty text, null and NaN are no id, and neither are the words that programs
write for them (NULL_WORDS, in any case), unless these are to be ids: such
events are dropped and counted.

Text is interned while the file streams by (a Categorical with a registry of
its own), so a log of N events costs 4 bytes an id and not its text.
"""

from collections.abc import Mapping
import re
from typing import Any

from jaxtyping import Int
import numpy as np
import polars as pl

# Above this a float64 no longer tells neighbouring whole numbers apart.
_EXACT = 2**53
# A whole number with the point of a float.
_WHOLE = re.compile(r"(-?\d+)\.0*")

# What a missing value looks like in text, in lower case.
NULL_WORDS = ("nan", "null", "none", "n/a", "<na>")
# Codes of `codes` where there is no id.
NO_ID, NULL_WORD = -1, -2

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
  text = text.str.replace(f"^{_WHOLE.pattern}$", "${1}")
  return text.replace({"": None})


def text_of(value: object) -> str:
  """One id, of whatever type, as its text under the rule above; '' = no id."""
  if value is None:
    return ""
  if isinstance(value, float | np.floating):
    if np.isnan(value):
      return ""
    whole = abs(value) < _EXACT and value == int(value)
    return str(int(value)) if whole else str(value)
  text = str(value)
  found = _WHOLE.fullmatch(text) if "." in text else None
  return found[1] if found else text


def is_null_word(text: pl.Expr) -> pl.Expr:
  """Whether a text is a word for a missing value."""
  return text.str.to_lowercase().is_in(NULL_WORDS)


def codes(
  column: pl.Series, *, null_words: bool = False
) -> tuple[Int[np.ndarray, "E"], list[str]]:
  """Codes of a column of `interned` and the id behind each code.

  Args:
    column: of ids.
    null_words: whether words for a missing value are no ids.

  Returns:
    int32 codes (E,), NO_ID where there is no id, NULL_WORD where there is a
    word for it, and the ids in sorted order.
  """
  present = column.drop_nulls().unique()
  text = canonical(present.cast(pl.String))
  word = np.zeros(len(text), bool)
  if null_words:
    said = text.to_frame("text").select(is_null_word(pl.col("text")))
    word = said.to_series().fill_null(False).to_numpy()
  names = text.filter(~pl.Series(word, dtype=pl.Boolean)).drop_nulls()
  names = names.unique().sort()
  place = pl.DataFrame({"text": names}).with_row_index("code")
  found = pl.DataFrame({"text": text}).join(
    place, on="text", how="left", maintain_order="left"
  )
  physical = present.to_physical().to_numpy()
  # One more slot, which stays NO_ID, stands for null.
  table = np.full(int(physical.max(initial=0)) + 2, NO_ID, np.int32)
  table[physical] = found["code"].cast(pl.Int32).fill_null(NO_ID).to_numpy()
  table[physical[word]] = NULL_WORD
  every = column.to_physical().fill_null(len(table) - 1).to_numpy()
  return table[every], names.to_list()
