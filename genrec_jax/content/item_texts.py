# SPDX-License-Identifier: Apache-2.0
"""The text of each item, from a template over the catalogue.

    item_texts(catalog, "{title}. {categories[0]}")

A template names the title, attributes and the count of events in the training
part of data/dataset/catalog.py; `[n]` takes one entry of a list, without it all
are joined by commas. Missing values are empty, HTML entities are resolved,
white space is one blank, and the punctuation that an empty field leaves at
either end is dropped. An item all of whose fields are empty has no text: its
text is ''.
"""

import collections
from collections.abc import Sequence
import dataclasses
import html
import re
import string

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog

_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])?")


@dataclasses.dataclass(frozen=True)
class TextCounts:
  """What the texts of a catalogue are like.

  Attributes:
    items: V.
    without_text: items whose text is ''.
    distinct: different texts that are not empty.
    sharing: items whose text another item has too (empty ones apart).
    largest_group: most items with one text.
    examples: of the most frequent repeated texts, (text, items).
  """

  items: int
  without_text: int
  distinct: int
  sharing: int
  largest_group: int
  examples: list[tuple[str, int]]


def item_texts(catalog: Catalog, template: str) -> list[str]:
  """Texts by item index; place 0 (padding) is ''.

  Raises:
    ValueError: a template that names no field or an unknown one, or no item
      with a text.
  """
  columns = {"title": catalog.titles[1:], "count": catalog.count[1:].tolist()}
  columns |= {
    name: catalog.attributes[name].to_list()
    for name in catalog.attributes.columns
  }
  pieces = _parse(template, columns)
  texts = [""]
  for row in range(catalog.num_items):
    parts, empty = [], True
    for literal, name, place in pieces:
      value = _value(columns[name][row], place) if name else ""
      empty &= not value
      parts.append(literal + value)
    texts.append("" if empty else _clean("".join(parts)))
  if not any(texts):
    raise ValueError(
      f"no item has a text under the template {template!r}: its fields are"
      " empty for all of them. Use other fields of the item table"
      f" ({', '.join(columns)})."
    )
  return texts


def count_texts(texts: Sequence[str]) -> TextCounts:
  """Counts over texts by item index (place 0 is no item)."""
  groups = collections.Counter(texts[1:])
  without = groups.pop("", 0)
  repeated = [(t, n) for t, n in groups.most_common() if n > 1]
  return TextCounts(
    items=len(texts) - 1,
    without_text=without,
    distinct=len(groups),
    sharing=sum(n for _, n in repeated),
    largest_group=max(groups.values(), default=0),
    examples=repeated[:5],
  )


def _parse(
  template: str, known: dict[str, list]
) -> list[tuple[str, str, int | None]]:
  """(literal before the field, field or '', place in a list or None)."""
  try:
    parsed = list(string.Formatter().parse(template))
  except ValueError as e:
    raise ValueError(f"template {template!r}: {e}.") from e
  pieces = []
  for literal, field, spec, conversion in parsed:
    if field is None:
      pieces.append((literal, "", None))
      continue
    match = _FIELD.fullmatch(field)
    if match is None or spec or conversion:
      raise ValueError(
        f"template {template!r}: {{{field}}} must be {{name}} or {{name[0]}}."
      )
    if match[1] not in known:
      raise ValueError(
        f"template {template!r}: the item table has no {match[1]!r}."
        + choices_hint(match[1], known)
      )
    pieces.append((literal, match[1], int(match[2]) if match[2] else None))
  if not any(name for _, name, _ in pieces):
    raise ValueError(
      f"template {template!r} names no field, so that all items would have one"
      f" text. Fields: {', '.join(known)}."
    )
  return pieces


def _value(value: object, place: int | None) -> str:
  if isinstance(value, list | tuple):
    if place is not None:
      value = value[place] if place < len(value) else None
    else:
      value = ", ".join(str(v) for v in value if v is not None)
  elif place:
    value = None
  return _squeeze(html.unescape("" if value is None else str(value)))


def _squeeze(text: str) -> str:
  return " ".join(text.split())


def _clean(text: str) -> str:
  # What stands around an empty field, such as '. ' before a missing category.
  return _squeeze(text).strip(" .,;:|-")
