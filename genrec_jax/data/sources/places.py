# SPDX-License-Identifier: Apache-2.0
"""Where a value stands in the files of a table; slow, for errors only."""

from collections.abc import Iterator
import csv
import gzip
import json
import pathlib
from typing import Any

from genrec_jax.data.sources.tables import Table


def place_of(table: Table, column: str, text: str, row: int) -> str:
  """File and line of the first value of a column that is a text.

  Args:
    table: files that hold it.
    column: of the table.
    text: the value, as text.
    row: number of its row from 0, told where lines mean nothing.
  """
  for path in table.paths:
    for number, value in _values(table, path, column):
      if value == text:
        return f"{path}, line {number}"
  return f"{', '.join(map(str, table.paths))}, row {row + 1}"


def _values(
  table: Table, path: pathlib.Path, column: str
) -> Iterator[tuple[int, str | None]]:
  """Line and text of every value of a column."""
  if table.format == "parquet":
    return
  opened = gzip.open if path.suffix == ".gz" else open
  with opened(path, "rt", encoding="utf-8", newline="") as file:
    if table.format == "jsonl":
      for number, line in enumerate(file, 1):
        for event in _objects(line, table.nested):
          value = event.get(column)
          yield number, value if isinstance(value, str) else json.dumps(value)
      return
    rows = csv.reader(
      file,
      delimiter=table.separator,
      quotechar=table.quote or None,
      quoting=csv.QUOTE_MINIMAL if table.quote else csv.QUOTE_NONE,
    )
    try:
      names = list(table.columns or next(rows))
      place, begins = names.index(column), rows.line_num + 1
      for values in rows:
        if len(values) > place:
          yield begins, values[place]
        begins = rows.line_num + 1
    except csv.Error:
      # A field beyond the module's limit: the row is told instead.
      return


def _objects(line: str, nested: str | None) -> list[dict[str, Any]]:
  """The rows of a line of JSON."""
  found = json.loads(line) if line.strip() else {}
  if nested is None:
    return [found]
  return [{**event, **found} for event in found.get(nested) or []]
