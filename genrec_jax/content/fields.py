# SPDX-License-Identifier: Apache-2.0
"""Fields of an item table beside a text: one-hot blocks in front of its vector.

    template  "{categories[0]}¦{price}¦{title}"    a piece a field, then text
    vector    [weight one_hot(class of field 1), .., text vector]

The classes of a field are learned from a catalogue and kept with the vectors:
a label's are its most frequent values, a number's are ranges with as many items
each. Class 0 stands for a missing value, and for a label that is none of them.
A new item is encoded alike, so that codes which begin with fields
(semantic_ids/quantizers/field_codes.py) have a place for it.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.content.item_vectors import LearningEncoder
from genrec_jax.core import artifact, atomic, sealed, seams

SEPARATOR = "¦"
_FILE = "fields.json"


@runtime_checkable
class Saving(Protocol):
  """An encoder that was fitted."""

  def save(self, directory: Any) -> None:
    """Writes it into a folder."""


@dataclasses.dataclass(frozen=True)
class Labels:
  """A field of labels.

  Attributes:
    size: classes, that of missing and rare values included.
    depth: steps of a path "A > B > C" that are told apart; 0 = all.
  """

  size: int
  depth: int = 0

  def learn(self, values: Sequence[str]) -> list[str]:
    """The labels of classes 1, 2, ..: the most frequent, then by name."""
    count = collections.Counter(map(self._label, values))
    del count[""]
    order = sorted(count, key=lambda label: (-count[label], label))
    return order[: self.size - 1]

  def classes(
    self, values: Sequence[str], learned: Sequence[str]
  ) -> Int[np.ndarray, "N"]:
    """The class of each value."""
    place = {label: i for i, label in enumerate(learned, 1)}
    return np.array([place.get(self._label(v), 0) for v in values], np.int64)

  def _label(self, value):
    steps = value.split(" > ")
    return " > ".join(steps[: self.depth or len(steps)])


@dataclasses.dataclass(frozen=True)
class Numbers:
  """A field of numbers.

  Attributes:
    size: classes, that of missing values included.
  """

  size: int

  def learn(self, values: Sequence[str]) -> list[float]:
    """Lower ends of classes 2, 3, ..: quantiles."""
    known = [n for n in map(number, values) if n is not None]
    if not known:
      return []
    shares = np.arange(1, self.size - 1) / (self.size - 1)
    return np.unique(np.quantile(known, shares)).tolist()

  def classes(
    self, values: Sequence[str], learned: Sequence[float]
  ) -> Int[np.ndarray, "N"]:
    """The class of each value."""
    found = [
      0 if n is None else 1 + int(np.searchsorted(learned, n, side="right"))
      for n in map(number, values)
    ]
    return np.array(found, np.int64)


def number(value: str) -> float | None:
  """What a piece of text says, with or without a dollar; None for no number."""
  try:
    found = float(value.strip().lstrip("$"))
  except ValueError:
    return None
  return found if np.isfinite(found) else None


@dataclasses.dataclass(frozen=True)
class FieldEncoder:
  """Options.

  Attributes:
    fields: by name, in the order of the template: Labels or Numbers.
    text: encoder of the last piece, see ContentEncoder.
    weight: of a field's block; two items of different classes are
      sqrt(2) weight apart by it, and texts' vectors have length 1.
    path: a folder that a fit was saved to; "" = none.
  """

  fields: Mapping[str, Any]
  text: Any
  weight: float = 0.5
  path: str = ""

  def __post_init__(self):
    if not self.fields or self.weight <= 0:
      raise ValueError("FieldEncoder needs a field, and a weight above 0.")
    for name, field in self.fields.items():
      if field.size < 2:
        raise ValueError(f"fields.{name}.size={field.size} must be at least 2.")

  def fit(self, texts: Sequence[str]) -> "FittedFields":
    """Learns the fields' classes, and the text encoder where it learns.

    Raises:
      ValueError: texts without a piece for every field.
    """
    pieces = split(texts, len(self.fields))
    text = self.text
    if seams.offers(text, LearningEncoder):
      text = dataclasses.replace(text, path=self.path or text.path)
      text = text.fit(sorted(set(pieces[-1]) - {""}))
    if self.path:
      values = sealed.read_json(
        pathlib.Path(self.path) / _FILE, "Make the vectors again."
      )
      learned = values["learned"]
    else:
      columns = zip(self.fields.items(), pieces, strict=False)
      learned = {name: f.learn(column) for (name, f), column in columns}
    return FittedFields(self.fields, learned, text, self.weight)

  def describe(self) -> dict[str, Any]:
    """The options."""
    return {
      "name": "content.FieldEncoder",
      "fields": {n: artifact.describe(f) for n, f in self.fields.items()},
      "text": self.text.describe(),
      "weight": self.weight,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFields:
  """Classes of fields, and an encoder of texts.

  Attributes:
    fields: as in FieldEncoder.
    learned: by field, what its classes are.
    text: the (fitted) text encoder.
    weight: of the blocks.
  """

  fields: Mapping[str, Any]
  learned: Mapping[str, Sequence[Any]]
  text: Any
  weight: float

  @functools.cached_property
  def fingerprint(self) -> str:
    """Names classes, weight and text encoder."""
    kinds = {name: artifact.describe(f) for name, f in self.fields.items()}
    learned = {name: list(values) for name, values in self.learned.items()}
    return artifact.content_hash(
      kinds, learned, self.weight, self.text.fingerprint
    )

  def describe(self) -> dict[str, Any]:
    """Its fingerprint."""
    return {"name": "content.FittedFields", "fingerprint": self.fingerprint}

  def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Blocks of the fields, and the texts' vectors."""
    *columns, rest = split(texts, len(self.fields))
    blocks = []
    for (name, field), column in zip(self.fields.items(), columns, strict=True):
      block = np.zeros((len(texts), field.size), np.float32)
      classes = field.classes(column, self.learned[name])
      block[np.arange(len(texts)), classes] = self.weight
      blocks.append(block)
    return np.concatenate([*blocks, self._texts(rest)], axis=1)

  def _texts(self, texts):
    """Vectors of texts, each encoded once; zeros of what is empty."""
    distinct = sorted(set(texts) - {""})
    place = {text: i for i, text in enumerate(distinct)}
    # No encoder is asked about no text at all, which some refuse.
    encoded = self.text.encode(distinct or [""])
    zeros = np.zeros_like(encoded[:1])
    encoded = np.concatenate([encoded[: len(distinct)], zeros])
    return encoded[[place.get(text, len(distinct)) for text in texts]]

  def save(self, directory: str | os.PathLike) -> None:
    """Writes fields.json, and what a fitted text encoder writes."""
    directory = pathlib.Path(directory)
    learned = {name: list(values) for name, values in self.learned.items()}
    text = json.dumps({"learned": learned})
    atomic.write_text(directory / _FILE, text)
    if seams.offers(self.text, Saving):
      self.text.save(directory)


def split(texts: Sequence[str], fields: int) -> list[list[str]]:
  """Columns of the fields, and of the text behind them.

  Raises:
    ValueError: a text with fewer pieces.
  """
  pieces = [text.split(SEPARATOR, fields) for text in texts]
  for text, found in zip(texts, pieces, strict=True):
    if len(found) <= fields and text:
      raise ValueError(
        f"the text {text[:80]!r} has {len(found)} pieces and FieldEncoder"
        f" {fields} fields: config.content.template gives each field, and then"
        f" the text, with {SEPARATOR!r} in between."
      )
  pieces = [p if len(p) > fields else [""] * (fields + 1) for p in pieces]
  return [[p[n].strip() for p in pieces] for n in range(fields + 1)]
