# SPDX-License-Identifier: Apache-2.0
"""A table in files of any common format, opened without reading it.

    table = open_table("log-*.csv.gz", wanted=["user", "item"])
    table.rows        # a Polars LazyFrame

CSV, TSV, Parquet and JSON lines, the text formats also gzipped. Text columns
stay text: nothing is guessed from the first rows, so "007" does not become 7.
JSON lines may hold one session each, with a list of events (`nested`), which
become one row each. Errors name the file, and for JSON the line.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import glob
import gzip
import json
import os
import pathlib
from typing import Any

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.core.suggest import choices_hint

_FORMATS = {
  ".csv": "csv",
  ".tsv": "tsv",
  ".parquet": "parquet",
  ".pq": "parquet",
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".json": "jsonl",
}
FORMATS = tuple(sorted(set(_FORMATS.values())))


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows to be read from files of one format."""

  rows: pl.LazyFrame
  paths: list[pathlib.Path]
  format: str

  def collect(self) -> pl.DataFrame:
    """All rows.

    Raises:
      ValueError: damaged files.
    """
    try:
      return self.rows.collect(engine="streaming")
    except pl.exceptions.PolarsError as e:
      raise ValueError(self.explain(e)) from e

  def explain(self, error: Exception) -> str:
    """Says which file, and for JSON which line, an error comes from."""
    return _explain(self.paths, self.format, error)


def find(pattern: str | os.PathLike) -> list[pathlib.Path]:
  """A file, or the files that match a pattern, in name order.

  Raises:
    MissingSource: there is none.
  """
  if not str(pattern):
    raise checksums.MissingSource("no path is given; set path= of the source.")
  if pathlib.Path(pattern).is_file():
    return [pathlib.Path(pattern)]
  paths = [pathlib.Path(p) for p in sorted(glob.glob(str(pattern)))]
  paths = [path for path in paths if path.is_file()]
  if not paths:
    raise checksums.MissingSource(f"there is no file {str(pattern)!r}.")
  return paths


def open_table(
  pattern: str | os.PathLike,
  wanted: Iterable[str],
  *,
  format: str | None = None,
  separator: str | None = None,
  columns: Sequence[str] | None = None,
  quote: str = '"',
  nested: str | None = None,
) -> Table:
  """Opens files as one table.

  Args:
    pattern: a file or a pattern, see `find`.
    wanted: columns that must be there; others may be there too.
    format: one of FORMATS; None = by the file's name.
    separator: of a CSV, one character; None = comma, tab for TSV.
    columns: column names of a CSV, which then has no header line.
    quote: quote character of a CSV; '' = quotes are plain text.
    nested: column that lists the events of a row.

  Raises:
    ValueError: no such file, an empty, truncated or unreadable one, a missing
      column.
  """
  paths, wanted = find(pattern), list(wanted)
  kind = _format(paths[0], format)
  for path in paths:
    if path.stat().st_size == 0:
      raise ValueError(f"{path} is empty.")
    if path.suffix == ".gz":
      checksums.check_gzip(path)
  try:
    if kind == "parquet":
      rows = pl.scan_parquet(paths)
    elif kind == "jsonl":
      rows = _scan_json(paths, wanted, nested)
    else:
      rows = _scan_text(paths, kind, separator, columns, quote)
    if nested is not None:
      rows = _unnest(rows, nested, paths[0])
    there = rows.collect_schema().names()
  except pl.exceptions.PolarsError as e:
    raise ValueError(_explain(paths, kind, e)) from e
  for name in wanted:
    if name not in there:
      raise ValueError(
        f"{pattern} has no column {name!r}.{choices_hint(name, there)}"
      )
  return Table(rows, paths, kind)


def _format(path: pathlib.Path, given: str | None) -> str:
  if given is not None:
    if given not in FORMATS:
      raise ValueError(f"format must be one of {FORMATS}, got {given!r}.")
    return given
  name = path.name.removesuffix(".gz")
  found = _FORMATS.get(pathlib.Path(name).suffix.lower())
  if found is None:
    raise ValueError(
      f"the format of {path.name!r} is unknown; known endings are"
      f" {', '.join(_FORMATS)} (and .gz after them). Set format= one of"
      f" {FORMATS}."
    )
  return found


def _scan_text(
  paths: list[pathlib.Path],
  kind: str,
  separator: str | None,
  columns: Sequence[str] | None,
  quote: str,
) -> pl.LazyFrame:
  separator = separator or ("\t" if kind == "tsv" else ",")
  if len(separator.encode()) != 1:
    raise ValueError(
      f"separator must be one character of one byte, got {separator!r}."
    )
  return pl.scan_csv(
    paths,
    separator=separator,
    has_header=columns is None,
    new_columns=None if columns is None else list(columns),
    quote_char=quote or None,
    infer_schema=False,
  )


def _scan_json(
  paths: list[pathlib.Path], wanted: list[str], nested: str | None
) -> pl.LazyFrame:
  """Plain values as text; keys are looked for in the head, then everywhere."""
  for length in (1000, None):
    found = pl.scan_ndjson(paths, infer_schema_length=length).collect_schema()
    inner = {} if nested is None else _inner(found, nested, paths[0])
    if all(name in found or name in inner for name in wanted):
      break
  types = {name: _plain(kind) for name, kind in found.items()}
  if nested is not None:
    fields = {name: _plain(kind) for name, kind in inner.items()}
    types[nested] = pl.List(pl.Struct(fields))
  return pl.scan_ndjson(paths, schema=types)


def _plain(kind: Any) -> Any:
  """Numbers, truth values and mixtures as the text that is in the file."""
  return kind if kind.is_nested() else pl.String


def _inner(
  types: Mapping[str, Any], nested: str, path: pathlib.Path
) -> dict[str, Any]:
  """Keys of the events in a column that lists them."""
  kind = types.get(nested)
  if not isinstance(kind, pl.List) or not isinstance(kind.inner, pl.Struct):
    there = ", ".join(f"{name} ({dtype})" for name, dtype in types.items())
    raise ValueError(
      f"nested={nested!r} must be a list of events with named values; {path}"
      f" has {there}."
    )
  return {field.name: field.dtype for field in kind.inner.fields}


def _unnest(
  rows: pl.LazyFrame, nested: str, path: pathlib.Path
) -> pl.LazyFrame:
  """One row per event; a key of the session hides one of its events."""
  types = rows.collect_schema()
  inner = [name for name in _inner(types, nested, path) if name not in types]
  return (
    rows.filter(pl.col(nested).list.len() > 0)
    .explode(nested)
    .with_columns(pl.col(nested).struct.field(name) for name in inner)
    .drop(nested)
  )


def _explain(paths: Sequence[pathlib.Path], kind: str, error: Exception) -> str:
  if kind == "jsonl":
    for path in paths:
      damage = _damaged_line(path)
      if damage:
        return damage
  # After a blank line Polars explains its own options.
  reason, hint = str(error).partition("\n\n")[0], ""
  if "utf-8" in reason:
    hint = " Convert it to UTF-8, for example with iconv."
  elif "more fields" in reason:
    hint = " Is the separator, or the quote character, another?"
  return f"cannot read {', '.join(map(str, paths))}: {reason}.{hint}"


def _damaged_line(path: pathlib.Path) -> str:
  """What is wrong with a file of JSON lines; slow, for the error only."""
  opened = gzip.open if path.suffix == ".gz" else open
  with opened(path, "rb") as file:
    for number, line in enumerate(file, 1):
      try:
        value = json.loads(line) if line.strip() else {}
      except ValueError as e:
        return f"line {number} of {path} is not JSON: {e}."
      if not isinstance(value, dict):
        return f"line {number} of {path} is not a JSON object."
  return ""
