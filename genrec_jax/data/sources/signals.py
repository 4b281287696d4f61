# SPDX-License-Identifier: Apache-2.0
"""Columns that say whether an action was done, as one text of actions."""

from collections.abc import Sequence
import dataclasses

import polars as pl

from genrec_jax.core.suggest import short
from genrec_jax.data.action_text import SEPARATOR, SKIP
from genrec_jax.data.ids import Types
from genrec_jax.data.sources.places import place_of
from genrec_jax.data.sources.tables import Table


def joined(actions: Sequence[pl.Expr]) -> pl.Expr:
  """The actions that are there, as one text."""
  return pl.concat_str(actions, separator=SEPARATOR, ignore_nulls=True)


def action_of(table: Table, columns: Sequence[str]) -> pl.Expr:
  """The text of an impression: names of the columns that are true or above 0.

  A column is of numbers or truth values, or of their text; a missing value is
  none.

  Raises:
    ValueError: another value (names file, line and column).
  """
  types = table.rows.collect_schema()
  numbers = {name: _number(name, types) for name in columns}
  wrong = pl.any_horizontal(
    number.is_null() & (pl.col(name).cast(pl.String) != "")
    for name, number in numbers.items()
  )
  bad = table.rows.select(columns).with_row_index("row").filter(wrong).head(1)
  for row in dataclasses.replace(table, rows=bad).collect().to_dicts():
    for name in columns:
      kind = {name: types[name]}
      if (
        pl.DataFrame({name: [row[name]]}, kind)
        .select(numbers[name].is_null() & pl.col(name).is_not_null())
        .item()
      ):
        text = str(row[name])
        raise ValueError(
          f"{place_of(table, name, text, row['row'])}: column {name!r} is one"
          f" of the signals, and holds {short(text)}; expected is a number,"
          " true or false."
        )
  done = [
    pl.when(number > 0).then(pl.lit(name)) for name, number in numbers.items()
  ]
  return joined(done).replace({"": SKIP})


def _number(name: str, types: Types) -> pl.Expr:
  value = pl.col(name)
  if types[name] == pl.String:
    value = value.str.strip_chars().str.to_lowercase()
    value = value.replace({"true": "1", "false": "0"})
  return value.cast(pl.Float64, strict=False)
