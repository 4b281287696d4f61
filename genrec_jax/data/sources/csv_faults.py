# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a CSV file, by line, and never what its rows hold.

    check_quotes("log.csv", ",", '"')    # before it is read: one fast pass
    fault("log.csv", ",", '"')           # after reading failed; slow

Polars splits a file at line breaks outside quotes. A quote that nothing closes,
or one within a field that is not quoted, makes rows of other rows, so the rules
of RFC 4180 are checked first: a quote opens where a field begins, and closes
where it ends; two of them within a quoted field are one.
"""

from collections.abc import Iterator, Sequence
import csv
import gzip
import os
import pathlib
import sys
from typing import Any

import numpy as np

from genrec_jax.core import checksums
from genrec_jax.core.suggest import short

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Columns that Polars renames have it at their end.
_AGAIN = "_duplicated_"


def check_head(
  path: str | os.PathLike, separator: str, columns: Sequence[str] | None
) -> None:
  """Checks what the first line shows.

  Args:
    path: of the file, which may be gzipped.
    separator: of its fields.
    columns: names that stand for a header; None = the first line is one.

  Raises:
    ValueError: UTF-16, bytes 0, lines that end in CR alone, or another number
      of columns than there are names.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    head = file.readline(1 << 16)
  if head.startswith(_UTF16) or b"\0" in head:
    raise ValueError(
      f"{path} is not UTF-8 text: its first line has"
      f" {'the mark of UTF-16' if head.startswith(_UTF16) else 'a byte 0'}."
      " Convert it, for example with iconv."
    )
  if b"\r" in head.rstrip(b"\r\n"):
    raise ValueError(
      f"the lines of {path} end in CR alone. Convert them to line feeds, for"
      " example with tr '\\r' '\\n'."
    )
  if columns is None:
    return
  if len(set(columns)) < len(columns):
    raise ValueError(f"columns={short(list(columns))} names one twice.")
  fields = head.count(separator.encode()) + 1
  if b'"' not in head and fields != len(columns):
    raise ValueError(
      f"columns names {len(columns)} columns, and the first line of {path} has"
      f" {fields}. Is the separator another than {separator!r}?"
    )


def check_names(path: str | os.PathLike, names: Sequence[str]) -> None:
  """Raises a ValueError where a header names a column twice."""
  for name in names:
    first, again, number = name.rpartition(_AGAIN)
    if again and number.isdigit() and first in names:
      raise ValueError(
        f"{path} has two columns {short(first)}; rename one of them."
      )


def other_head(paths: Sequence[pathlib.Path]) -> str:
  """Says which file begins with another line than the first; '' = none."""
  heads = []
  for path in paths:
    with _opened(path) as file:
      heads.append(file.readline(1 << 16).strip())
    if heads[-1] != heads[0]:
      return (
        f"{path} has another header than {paths[0]}:"
        f" {short(heads[-1].decode(errors='replace'))} and"
        f" {short(heads[0].decode(errors='replace'))}."
      )
  return ""


def check_quotes(
  path: str | os.PathLike, separator: str, quote: str, fix: str = ""
) -> None:
  """Checks that every quote opens a field or closes one; args as of `fault`.

  Raises:
    ValueError: names the line of the first that does not; damaged gzip.
  """
  if not quote:
    return
  edge = np.zeros(256, bool)
  edge[list(f"{separator}\r\n{quote}".encode())] = True
  count, opened, offset = 0, 0, 0
  for before, chunk, after in _with_neighbours(path):
    text = np.frombuffer(before + chunk + after, np.uint8)
    at = np.flatnonzero(text[1:-1] == ord(quote)) + 1
    if len(at):
      opens = (np.arange(len(at)) + count) % 2 == 0
      wrong = ~edge[text[np.where(opens, at - 1, at + 1)]]
      if wrong.any():
        first = int(wrong.argmax())
        line = _line(path, offset + int(at[first]) - 1)
        if opens[first]:
          what = f"line {line} of {path} has a {quote} within a field"
        else:
          if first:
            opened = offset + int(at[first - 1]) - 1
          start = _line(path, opened)
          what = f"the {quote} that line {start} of {path} opens"
          what += f" does not end with a field (line {line})"
        raise ValueError(f"{what}.{_close(quote, fix)}")
      if opens.any():
        opened = offset + int(at[np.flatnonzero(opens)[-1]]) - 1
      count += len(at)
    offset += len(chunk)
  if count % 2:
    raise ValueError(
      f"line {_line(path, opened)} of {path} opens a {quote} that nothing"
      f" closes.{_close(quote, fix)}"
    )


def _close(quote: str, fix: str) -> str:
  said = f" If it is plain text in this file, set {fix}." if fix else ""
  return f"{said} A {quote} in a quoted field is written twice."


def fault(
  path: str | os.PathLike, separator: str, quote: str, fix: str = ""
) -> str:
  """Says which line cannot be read and why; '' where none is found.

  Args:
    path: of the file, which may be gzipped.
    separator: of its fields.
    quote: the character; '' = none is special.
    fix: what to set where quotes are plain text, for the message.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    for number, line in enumerate(file, 1):
      try:
        line.decode()
      except UnicodeDecodeError:
        return (
          f"line {number} of {path} is not UTF-8. Convert it to UTF-8, for"
          " example with iconv."
        )
  csv.field_size_limit(sys.maxsize)
  how = {"delimiter": separator}
  how |= {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
  with _opened(path) as file:
    # Python's reader takes neither a byte 0 nor a CR within a line.
    plain = (line.rstrip(b"\r\n").replace(b"\0", b"") for line in file)
    lines = (line.replace(b"\r", b" ").decode() + "\n" for line in plain)
    reader = csv.reader(lines, **how)
    width = len(next(reader, []))
    for row in reader:
      if len(row) > width:
        hint = " Is the separator, or the quote character, another"
        hint += f" ({fix})?" if fix else "?"
        return (
          f"line {reader.line_num} of {path} has {len(row)} fields, the first"
          f" line {width}.{hint}"
        )
  return ""


def _opened(path: pathlib.Path) -> Any:
  return (gzip.open if path.suffix == ".gz" else open)(path, "rb")


def _with_neighbours(
  path: str | os.PathLike,
) -> Iterator[tuple[bytes, bytes, bytes]]:
  """Pieces of a file, each with the byte before and after it.

  Beyond its ends are line breaks. A byte order mark is a line break too: a
  quote may follow it.
  """
  before, chunk = b"\n", b""
  for following in checksums.chunks(path):
    if not chunk:
      if following.startswith(_BOM):
        following = b"\n" * len(_BOM) + following[len(_BOM) :]
    else:
      yield before, chunk, following[:1]
      before = chunk[-1:]
    chunk = following
  if chunk:
    yield before, chunk, b"\n"


def _line(path: str | os.PathLike, offset: int) -> int:
  """The number of the line, from 1, that holds a byte."""
  lines = 1
  for chunk in checksums.chunks(path):
    lines += chunk[:offset].count(b"\n")
    offset -= len(chunk)
    if offset <= 0:
      break
  return lines
