# SPDX-License-Identifier: Apache-2.0
"""Types of the columns that describe items and users.

    types = declared(("price=float", "zip=text"), "items_types")
    typed(table, rows, ["price", "zip", "size"], types)

A CSV has no types: a column is numbers where every value is written as one
(without a leading zero, which a code has), truth values where all are true or
false, else text. JSON and Parquet have types and keep them. Empty fields are
null. A declared type wins, and a value that does not fit it is an error.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.sources.places import place_of
from genrec_jax.data.sources.tables import Table

_INT = r"^[+-]?\d+(\.0*)?$"
_WRITTEN_INT = r"^-?(0|[1-9]\d*)$"
_WRITTEN_FLOAT = r"^-?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?$"
_WRITTEN_BOOL = r"^(?i)(true|false)$"
# A missing number, as some writers of tables put it.
_NAN = r"^[+-]?(?i)nan$"
_BOOLS = {
  **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
  **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
TYPES = ("text", "int", "float", "bool")


def declared(options: Sequence[str], where: str) -> dict[str, str]:
  """{column: type} of options such as "price=float".

  Raises:
    ValueError: another form, an unknown type, or a column twice.
  """
  found = {}
  for option in options:
    name, equals, kind = option.rpartition("=")
    if not equals or not name:
      raise ValueError(
        f"{where} has {option!r}; write COLUMN=TYPE, such as 'price=float'."
      )
    if kind not in TYPES:
      raise ValueError(
        f"{where} has the type {kind!r} for {name!r}."
        + choices_hint(kind, TYPES)
      )
    if name in found:
      raise ValueError(f"{where} names {name!r} twice.")
    found[name] = kind
  return found


def typed(
  table: Table,
  rows: pl.DataFrame,
  names: Sequence[str],
  types: Mapping[str, str],
) -> pl.DataFrame:
  """The rows, with each of `names` in its type.

  Args:
    table: the files that the rows come from.
    rows: of it.
    names: columns that have a type.
    types: declared ones.

  Raises:
    ValueError: a declared column that is none of `names`, or a value that does
      not fit (names file, line, column and value).
  """
  for name in types:
    if name not in names:
      raise ValueError(
        f"a type is declared for {name!r}, which is no attribute in"
        f" {table.paths[0]}.{choices_hint(name, names)}"
      )
  kinds = table.kinds() if set(names) - set(types) else {}
  text = table.format in ("csv", "tsv")
  columns = []
  for name in names:
    column = rows[name]
    if name in types:
      column = _as_declared(table, column, types[name])
    elif column.dtype == pl.String and (text or kinds[name] != pl.String):
      column = _finite(table, column, guessed(column))
      if column.dtype == pl.Int64 and kinds[name] == pl.Float64:
        column = column.cast(pl.Float64)
    columns.append(column)
  return rows.with_columns(columns)


def guessed(column: pl.Series) -> pl.Series:
  """A column of text as what all of its values are written as."""
  text = column.str.strip_chars().replace("", None)
  numbers = text.set(text.str.contains(_NAN), None)
  if not text.drop_nulls().len():
    return text
  if numbers.drop_nulls().len():
    for form, dtype in (
      (_WRITTEN_INT, pl.Int64),
      (_WRITTEN_FLOAT, pl.Float64),
    ):
      fits = numbers.str.contains(form) & numbers.str.contains(r"\d")
      if fits.all(ignore_nulls=True):
        parsed = numbers.cast(dtype, strict=False)
        # Digits that no number holds are a code.
        whole = parsed.null_count() == numbers.null_count()
        return parsed if whole else column
  if text.str.contains(_WRITTEN_BOOL).all(ignore_nulls=True):
    return text.str.to_lowercase() == "true"
  return column.replace("", None)


def check_title(table: Table, rows: pl.DataFrame, column: str) -> None:
  """Raises where titles are no text.

  Args:
    table: the files that the rows come from.
    rows: of it, with a column title.
    column: what the files call it.

  Raises:
    ValueError: they are lists or objects.
  """
  kind = rows.schema["title"]
  if kind.is_nested():
    what = "objects" if kind == pl.Struct else "lists"
    raise ValueError(
      f"{', '.join(map(str, table.paths))}: the column {column!r} holds {what},"
      " and is the title of items: make it text, or name another column as the"
      " title."
    )


def _finite(table: Table, text: pl.Series, found: pl.Series) -> pl.Series:
  """What was read of a column of text, none of it beyond float64."""
  if found.dtype.is_float() and found.is_infinite().any():
    row = int(found.is_infinite().fill_null(False).arg_max())
    raise ValueError(
      f"{place_of(table, text.name, text[row], row)}: column {text.name!r} is"
      f" numbers, and holds {short(text[row])}, which is beyond 64 bits."
      f" Declare '{text.name}=text' to keep it as it is written."
    )
  return found


def _as_declared(table: Table, column: pl.Series, kind: str) -> pl.Series:
  if column.dtype.is_nested():
    raise ValueError(
      f"{table.paths[0]}: column {column.name!r} holds lists, and is declared"
      f" as {kind}; leave its type out."
    )
  text = column.cast(pl.String)
  if kind == "text":
    return text.replace("", None)
  plain = text.str.strip_chars().replace("", None)
  if kind == "bool":
    found = plain.str.to_lowercase().replace_strict(
      _BOOLS, default=None, return_dtype=pl.Boolean
    )
  else:
    plain = plain.set(plain.str.contains(_NAN), None)
    found = plain.cast(pl.Float64, strict=False)
    found = found.set(~found.is_finite(), None)
    if kind == "int":
      whole = plain.set(~plain.str.contains(_INT), None)
      found = whole.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
  wrong = found.is_null() & plain.is_not_null()
  if wrong.any():
    row = int(wrong.arg_max())
    value = text[row]
    more = int(wrong.sum()) - 1
    raise ValueError(
      f"{place_of(table, column.name, value, row)}: column {column.name!r} is"
      f" declared as {kind}, and holds {short(value)}"
      + (f" ({more:,} more rows are like that)." if more else ".")
    )
  return found
