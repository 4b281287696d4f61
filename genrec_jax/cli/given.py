# SPDX-License-Identifier: Apache-2.0
"""What flags give in place, or by the name of a file: --deny=a,b, --deny=@FILE.

A file of ids has one a line. That of a history may also be a table (CSV, TSV,
Parquet, JSON lines) with columns item_id, action, time, ... as
serving/given_history.py says.
"""

from collections.abc import Sequence
import pathlib
import sys
import warnings

from genrec_jax.serving.given_history import GivenHistory

_TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".gz")


def ids(name: str, values: Sequence[str] | None) -> list[str] | None:
  """Ids of the flag of a name; None where it is not given."""
  if values is None:
    return None
  path = _file(name, values)
  if path is None:
    return list(values)
  try:
    # A spreadsheet's mark of UTF-8 is no part of the first id.
    lines = path.read_text(encoding="utf-8-sig").splitlines()
  except UnicodeDecodeError:
    raise ValueError(
      f"--{name}=@{path}: the file is not UTF-8 text. Save it as UTF-8, one id"
      " a line."
    ) from None
  return [line.strip() for line in lines if line.strip()]


def history(values: Sequence[str] | None) -> GivenHistory | None:
  """The history of --history; None where it is not given."""
  if values is None:
    return None
  path = _file("history", values)
  if path is not None and path.suffix.lower() in _TABLES:
    return GivenHistory.read(path)
  return GivenHistory.of(ids("history", values))


def warnings_as_notes() -> None:
  """Prints every warning of the library's once, as a line."""
  warnings.showwarning = _note
  warnings.simplefilter("once", UserWarning)


def _file(name: str, values: Sequence[str]) -> pathlib.Path | None:
  if not values or not values[0].startswith("@"):
    return None
  # A path may have commas, at which absl cuts.
  path = pathlib.Path(",".join(values)[1:])
  if not path.is_file():
    raise ValueError(f"--{name}=@{path}: there is no such file.")
  return path


def _note(message, category, filename, lineno, file=None, line=None):
  del category, filename, lineno, file, line
  print(f"note: {message}", file=sys.stderr)
