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
import math
import os
import pathlib
from typing import Any

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.sources import csv_faults

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
# How a command line writes the character that it cannot.
_TABS = ("\\t", "tab")


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows to be read from files of one format."""

  rows: pl.LazyFrame
  paths: list[pathlib.Path]
  format: str
  separator: str = ","
  quote: str = '"'
  quote_fix: str = ""
  columns: Sequence[str] | None = None
  nested: str | None = None

  def kinds(self) -> dict[str, Any]:
    """Type of every column that the files give it; reads JSON lines once."""
    try:
      if self.format != "jsonl":
        return dict(self.rows.collect_schema())
      found = pl.scan_ndjson(self.paths, infer_schema_length=None)
      types = dict(found.collect_schema())
    except pl.exceptions.PolarsError as e:
      raise ValueError(self.explain(e)) from None
    inner = {}
    if self.nested is not None:
      inner = _inner(types, self.nested, self.paths[0])
    return {**inner, **types}

  def collect(self) -> pl.DataFrame:
    """All rows.

    Raises:
      ValueError: damaged files.
    """
    try:
      return self.rows.collect(engine="streaming")
    except pl.exceptions.PolarsError as e:
      # What Polars says may hold rows: nobody is shown it.
      raise ValueError(self.explain(e)) from None

  def explain(self, error: Exception) -> str:
    """Says which file, and which line, an error comes from."""
    return _explain(self, error)


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
  quote_fix: str = "",
) -> Table:
  """Opens files as one table.

  Args:
    pattern: a file or a pattern, see `find`.
    wanted: columns that must be there; others may be there too.
    format: one of FORMATS; None = by the file's name.
    separator: of a CSV, one character, a tab also as the two characters \\t
      or the word; None = comma, tab for TSV.
    columns: column names of a CSV, which then has no header line.
    quote: quote character of a CSV; '' = quotes are plain text.
    nested: column that lists the events of a row.
    quote_fix: how a user says that quotes are plain text, for errors.

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
  separator = separator or ("\t" if kind == "tsv" else ",")
  separator = "\t" if separator in _TABS else separator
  table = Table(
    pl.LazyFrame(), paths, kind, separator, quote, quote_fix, columns, nested
  )
  try:
    if kind == "parquet":
      rows = pl.scan_parquet(paths)
    elif kind == "jsonl":
      rows = _scan_json(paths, wanted, nested)
    else:
      rows = _scan_text(table, columns)
    if nested is not None:
      rows = _unnest(rows, nested, paths[0])
    there = rows.collect_schema().names()
  except pl.exceptions.PolarsError as e:
    raise ValueError(table.explain(e)) from None
  for name in wanted:
    if name not in there:
      raise ValueError(
        f"{pattern} has no column {name!r}.{choices_hint(name, there)}"
        + _other_separator(there)
      )
  return dataclasses.replace(table, rows=rows)


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


def _scan_text(table: Table, columns: Sequence[str] | None) -> pl.LazyFrame:
  for name, text in (("separator", table.separator), ("quote", table.quote)):
    if len(text.encode()) != 1 and (text or name == "separator"):
      raise ValueError(
        f"{name} must be one character of one byte, got {short(text)}."
      )
  if table.separator in ("\n", "\r", table.quote):
    raise ValueError(
      f"separator={table.separator!r} is the quote, or ends lines."
    )
  for path in table.paths:
    csv_faults.check_head(path, table.separator, columns)
    csv_faults.check_quotes(path, table.separator, table.quote, table.quote_fix)
  rows = pl.scan_csv(
    table.paths,
    separator=table.separator,
    has_header=columns is None,
    new_columns=None if columns is None else list(columns),
    quote_char=table.quote or None,
    infer_schema=False,
  )
  csv_faults.check_names(table.paths[0], rows.collect_schema().names())
  return rows


def _other_separator(names: Sequence[str]) -> str:
  """A hint for a header that is one name with separators in it."""
  found = [
    s for s in (";", "\t", "|", ",") if len(names) == 1 and s in names[0]
  ]
  return f" Are its fields separated by {found[0]!r}?" if found else ""


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


def _explain(table: Table, error: Exception) -> str:
  for path in table.paths:
    if table.format == "jsonl":
      damage = _damaged_line(path)
    elif table.format == "parquet":
      damage = _damaged_parquet(path)
    else:
      damage = csv_faults.fault(
        path, table.separator, table.quote, table.quote_fix
      )
    if damage:
      return damage
  first, *others = table.paths
  if not others and isinstance(error, pl.exceptions.NoDataError):
    return f"{first} is empty: all its lines are blank."
  if not others:
    return f"cannot read {first} as {table.format} ({type(error).__name__})."
  if table.format in ("csv", "tsv"):
    found = csv_faults.other_head(table.paths)
    if found:
      return found
  return (
    f"cannot read {first} and {len(others)} more as one table"
    f" ({type(error).__name__}): do all files have the same columns, and every"
    " column one type?"
  )


def _damaged_parquet(path: pathlib.Path) -> str:
  try:
    pl.scan_parquet(path).select(pl.all().len()).collect()
  except pl.exceptions.PolarsError:
    return f"cannot read {path}: it is no Parquet file, or is damaged."
  return ""


def _damaged_line(path: pathlib.Path) -> str:
  """What is wrong with a file of JSON lines; slow, for the error only."""
  opened = gzip.open if path.suffix == ".gz" else open
  with opened(path, "rb") as file:
    for number, line in enumerate(file, 1):
      try:
        value = _json.decode(line.decode().strip()) if line.strip() else {}
      except UnicodeDecodeError:
        return (
          f"line {number} of {path} is not UTF-8. Convert it to UTF-8, for"
          " example with iconv."
        )
      except (ValueError, RecursionError) as e:
        return f"line {number} of {path} is not JSON: {e}."
      if not isinstance(value, dict):
        return f"line {number} of {path} is not a JSON object."
  return ""


def _no_json(name: str) -> None:
  raise ValueError(f"{name} is no JSON value; write null")


def _in_range(text: str) -> float:
  value = float(text)
  if not math.isfinite(value) or abs(value) >= 2**63:
    raise ValueError(f"{short(text)} is beyond 64 bits; write it as text")
  return value


_json = json.JSONDecoder(
  parse_constant=_no_json, parse_float=_in_range, parse_int=_in_range
)
