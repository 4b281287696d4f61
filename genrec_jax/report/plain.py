# SPDX-License-Identifier: Apache-2.0
"""What a page shows of an evaluator that has no page of its own: its numbers.

A section is nested mappings down to numbers. Each innermost mapping of numbers
is a row, named by the keys that lead to it.
"""

from collections.abc import Iterator, Mapping
from html import escape
import pathlib
from typing import Any

from genrec_jax.report.document import Part


def part_of(
  workdir: pathlib.Path, section: Mapping[str, Any], user: str | None = None
) -> Part:
  """The section's numbers as tables, one per entry that holds any.

  Args:
    workdir, user: not needed.
    section: of a document, with the description of the run.
  """
  del workdir, user
  body = ""
  for name, value in section.items():
    if name != "config_values" and isinstance(value, Mapping):
      body += _table(name, dict(_rows(value)))
  title = section["evaluator"].rpartition(".")[2]
  return Part(title, body, {}, section.get("notes", ()))


def _rows(
  node: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int | float]]]:
  numbers = {k: v for k, v in node.items() if isinstance(v, int | float)}
  if numbers:
    yield ", ".join(path), numbers
  for key, value in node.items():
    if isinstance(value, Mapping):
      yield from _rows(value, (*path, key))


def _table(name: str, rows: Mapping[str, Mapping[str, int | float]]) -> str:
  if not rows:
    return ""
  columns = list(dict.fromkeys(c for row in rows.values() for c in row))
  head = "".join(f"<th>{escape(column)}</th>" for column in columns)
  lines = "".join(
    f"<tr><td>{escape(label)}</td>"
    + "".join(f"<td>{_number(row.get(column))}</td>" for column in columns)
    + "</tr>"
    for label, row in rows.items()
  )
  return (
    f"<h2>{escape(name.replace('_', ' '))}</h2>"
    '<div class="card"><table class="plain"><thead><tr><th></th>'
    f"{head}</tr></thead><tbody>{lines}</tbody></table></div>"
  )


def _number(value: int | float | None) -> str:
  if value is None:
    return "-"
  return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
