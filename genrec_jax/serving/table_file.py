# SPDX-License-Identifier: Apache-2.0
"""A table that is written part by part, in the format of its file's name.

    with TableFile("recs.parquet") as file:      .parquet, .csv or .jsonl
      file.tell({"made": "today"})               kept by .parquet alone
      file.write(table)

A thread writes a part while the caller makes the next. The file appears when it
is complete.
"""

from collections.abc import Callable, Mapping
import concurrent.futures
import contextlib
import os
import pathlib
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from genrec_jax.core import atomic


class TableFile:
  """See the module docstring.

  Attributes:
    path: where it appears.
    rows: written so far.
  """

  def __init__(self, path: str | os.PathLike):
    """Raises a ValueError for a name of another format."""
    self.path = pathlib.Path(path)
    kind = self.path.suffix.lower()
    if kind not in _WRITERS:
      raise ValueError(
        f"{path}: name a file that ends in {', '.join(_WRITERS)}."
      )
    self._writer = _WRITERS[kind]
    self._facts: dict[str, str] = {}
    self._stack = contextlib.ExitStack()
    self._write: Callable[[pl.DataFrame], None] | None = None
    self._writing: concurrent.futures.Future | None = None
    self.rows = 0

  def __enter__(self) -> "TableFile":
    self._temporary = self._stack.enter_context(atomic.replacing(self.path))
    self._pool = self._stack.enter_context(
      concurrent.futures.ThreadPoolExecutor(1)
    )
    return self

  def __exit__(self, *error: Any) -> bool | None:
    if not any(error):
      self._stack.callback(self._wait)
    elif self._writing is not None:
      concurrent.futures.wait([self._writing])
    return self._stack.__exit__(*error)

  @property
  def keeps_facts(self) -> bool:
    """Whether its format has room for them."""
    return self._writer is _parquet

  def tell(self, facts: Mapping[str, str]) -> None:
    """Facts of the whole table; before anything is written."""
    self._facts |= facts

  def write(self, table: pl.DataFrame) -> None:
    """Appends rows; every table has the columns of the first.

    An error in writing it is raised by the next call, or at the end.
    """
    self._wait()
    if self._write is None:
      self._write = self._writer(
        self._stack, self._temporary, table, self._facts
      )
    self._writing = self._pool.submit(self._write, table)
    self.rows += len(table)

  def _wait(self) -> None:
    if self._writing is not None:
      writing, self._writing = self._writing, None
      writing.result()


def _parquet(stack, path, first, facts):
  def arrow(table):
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())

  # Arrow's other pools keep what they have had for a table.
  pool = pa.default_memory_pool()
  stack.callback(pa.set_memory_pool, pool)
  pa.set_memory_pool(pa.system_memory_pool())
  schema = arrow(first).schema
  if facts:
    schema = schema.with_metadata({**(schema.metadata or {}), **facts})
  writer = stack.enter_context(pq.ParquetWriter(path, schema))
  return lambda table: writer.write_table(arrow(table))


def _csv(stack, path, first, facts):
  del facts
  file = stack.enter_context(open(path, "wb"))
  first.clear().write_csv(file)
  return lambda table: table.write_csv(file, include_header=False)


def _jsonl(stack, path, first, facts):
  del first, facts
  file = stack.enter_context(open(path, "wb"))
  return lambda table: table.write_ndjson(file)


_WRITERS = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
