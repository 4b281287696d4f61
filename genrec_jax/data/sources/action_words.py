# SPDX-License-Identifier: Apache-2.0
"""A publisher's words for actions, as the names that this package has.

    words = ActionWords(table, "type", {"clicks": "view", "orders": "purchase"})
    words.kept(("purchase",))       # what stays, and how many rows go
    words.expression()              # the column, renamed

The words are counted in one pass over the files. One that the publisher does
not have is an error with its line.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.sources.places import place_of
from genrec_jax.data.sources.tables import Table


class ActionWords:
  """The words of one column, counted."""

  def __init__(self, table: Table, column: str, names: Mapping[str, str]):
    """Counts the words.

    Args:
      table: of the log.
      column: that holds them.
      names: word -> action, the weakest first.

    Raises:
      ValueError: damaged files, or a word that is not among the names (with
        its file and line).
    """
    self._column, self._names = column, dict(names)
    counted = table.rows.group_by(column).agg(pl.len())
    found = dataclasses.replace(table, rows=counted).collect()
    self._counts = dict(found.iter_rows())
    unknown = [word for word in self._counts if word not in self._names]
    if unknown:
      raise ValueError(self._unknown(table, unknown[0]))

  def kept(
    self, actions: Sequence[str] | None
  ) -> tuple[list[str], dict[str, int]]:
    """The actions of the log, the weakest first, and the rows of the others.

    Args:
      actions: to keep; None or none of them = all that occur.

    Raises:
      ValueError: an action that the log does not have.
    """
    rows = {self._names[word]: n for word, n in self._counts.items()}
    there = [name for name in self._names.values() if name in rows]
    for name in actions or ():
      if name not in there:
        raise ValueError(
          f"actions has {short(name)}, which never occurs in the log."
          + choices_hint(name, there)
        )
    kept = [name for name in there if not actions or name in actions]
    gone = [name for name in there if name not in kept]
    return kept, {
      f"{name}, not one of actions={tuple(kept)}": rows[name] for name in gone
    }

  def expression(self) -> pl.Expr:
    """The column as actions."""
    return pl.col(self._column).replace_strict(
      self._names, return_dtype=pl.String
    )

  def _unknown(self, table: Table, word: str | None) -> str:
    same = pl.col(self._column).eq_missing(pl.lit(word, pl.String))
    rows = (
      table.rows.select(self._column).with_row_index("row").filter(same).head(1)
    )
    row = dataclasses.replace(table, rows=rows).collect()["row"][0]
    place = place_of(table, self._column, "" if word is None else word, row)
    what = "has none" if word is None else f"holds {short(word)}"
    return (
      f"{place}: column {self._column!r} {what}, and is an action, one of"
      f" {', '.join(self._names)}."
    )
