# SPDX-License-Identifier: Apache-2.0
"""What flags give in place, or by the name of a file: --deny=a,b, --deny=@FILE.

A file of ids has one a line; ids that the run does not know are counted. The
file of a history may also be a table (CSV, TSV, Parquet, JSON lines) with
columns item_id, action, time, ... as serving/given_history.py says.
"""

from collections.abc import Sequence
import pathlib
import sys
import warnings

from genrec_jax.core.suggest import short
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.serving.given_history import GivenHistory

# What may stand behind an id on a line of a file that is no list of ids.
_MARKS = ",;\t|"
_SHOWN = 3
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


def unknown(name: str, ids: Sequence[str], catalog: Catalog) -> list[str]:
  """Those ids of the flag of a name that the catalogue does not have.

  Raises:
    ValueError: it has none of them; says what they may be.
  """
  found = [item_id for item_id in ids if not _is_known(item_id, catalog)]
  if ids and len(found) == len(ids):
    raise ValueError(
      f"--{name}: {_shown(found)} of {len(ids):,} ids: this run knows none."
      + _reason(ids, catalog)
    )
  return found


def note_unknown(name: str, ids: Sequence[str], catalog: Catalog) -> None:
  """Says on stderr how many ids of a filter mean nothing; see `unknown`."""
  found = unknown(name, ids, catalog)
  if found:
    print(
      f"note: --{name}: {len(found):,} of {len(ids):,} ids are no items of this"
      f" run, and change nothing: {_shown(found)}",
      file=sys.stderr,
    )


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


def _is_known(item_id: str, catalog: Catalog) -> bool:
  return len(catalog.known([item_id])) > 0


def _shown(ids: Sequence[str]) -> str:
  shown = ", ".join(map(short, ids[:_SHOWN]))
  return shown + (", ..." if len(ids) > _SHOWN else "")


def _reason(ids: Sequence[str], catalog: Catalog) -> str:
  """Why a catalogue may have none of these ids."""
  if len(ids) == 1 and pathlib.Path(ids[0]).is_file():
    return f" {ids[0]} is a file: write @{ids[0]}."
  # The first line may be a header.
  for line in ids[:2]:
    for mark in _MARKS:
      head, more, _ = line.partition(mark)
      head = head.strip().strip('"')
      if more and _is_known(head, catalog):
        return (
          f" Its lines hold more than an id: leave {short(head)} of"
          f" {short(line)}."
        )
  return f" Its ids look like {short(catalog.ids[1])}: is the list of it?"


def _note(message, category, filename, lineno, file=None, line=None):
  del category, filename, lineno, file, line
  print(f"note: {message}", file=sys.stderr)
