# SPDX-License-Identifier: Apache-2.0
"""Numbers of a text as tokens of their percentile, for towers that read words.

    template   "{count}¦{price}¦{title}"        a number each, then the text
    tokens     [first, <count 97>, <price 40>, red, pen, ...]

The digits of a count tell a text model next to nothing of how popular an item
is; its percentile, as one of a hundred tokens, does (arXiv 2510.14223). Tokens
are the rows of data/features/encoders.py's Percentiles: one for a missing
number, one per bucket, one for a value with more than a bucket's share of the
items (mostly a count of 0). They are fitted on items with an event in the
training part alone, whose counts are of that part (data/dataset/catalog.py), so
that no later event moves a bucket; numbers beyond all others are in the
outermost one. Given `edges` take the place of a fit: tokens keep their meaning
when the catalogue is made anew.

Their ids lie behind those of the words. Vectors are drawn with the words' own
variance; with `in_order` those of a field's buckets lie on a line from the
first to the last, so that neighbours start alike.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.content.fields import number, split
from genrec_jax.content.text_tokens import Words
from genrec_jax.data.features.encoders import FittedPercentiles, Percentiles

_WHERE = "config.text_tokens.words"


@dataclasses.dataclass(frozen=True)
class PercentileWords:
  """See the module docstring.

  Attributes:
    words: of the text behind the numbers; their max_tokens is the text's.
    num_fields: numbers in front of it.
    buckets: of each.
    edges: by field, the values that end its buckets but the last, ascending;
      () = fitted.
    heavy: with edges, by field, the value with a row of its own, or None.
    in_order: see the module docstring.
    seed: of the vectors.
  """

  words: Any
  num_fields: int = 1
  buckets: int = 100
  edges: tuple[tuple[float, ...], ...] = ()
  heavy: tuple[float | None, ...] = ()
  in_order: bool = True
  seed: int = 0

  def __post_init__(self):
    if self.num_fields < 1 or self.buckets < 2:
      raise ValueError(
        f"{_WHERE}: num_fields={self.num_fields} must be at least 1 and"
        f" buckets={self.buckets} at least 2."
      )
    for name, given in (("edges", self.edges), ("heavy", self.heavy)):
      if given and len(given) != self.num_fields:
        raise ValueError(
          f"{_WHERE}.{name} are of {len(given)} fields, and"
          f" num_fields={self.num_fields}: give each its own, or leave"
          f" {name} out."
        )
    if self.heavy and not self.edges:
      raise ValueError(f"{_WHERE}.heavy goes with edges: give both.")
    for field, edges in enumerate(self.edges):
      # A NaN is in no order.
      if len(edges) >= self.buckets or not np.all(np.diff([*edges]) >= 0):
        raise ValueError(
          f"{_WHERE}.edges[{field}] must be at most buckets - 1 ="
          f" {self.buckets - 1} numbers in ascending order."
        )

  def fit(
    self, texts: Sequence[str], counts: Int[np.ndarray, "N"]
  ) -> "FittedPercentileWords":
    """Finds the buckets of each field.

    Args:
      texts: by item, numbers in front.
      counts: events in the training part; items without any are not read.

    Raises:
      ValueError: a text without a piece for every field.
    """
    if self.edges:
      alone = [
        np.nan if value is None else float(value)
        for value in self.heavy or (None,) * self.num_fields
      ]
      fitted = tuple(
        FittedPercentiles(np.array(ends, np.float64), value, self.buckets)
        for ends, value in zip(self.edges, alone, strict=True)
      )
    else:
      # An item counts once, however often it was met.
      trained = (np.asarray(counts) > 0).astype(np.int64)
      *columns, _ = split(texts, self.num_fields)
      encoder = Percentiles(self.buckets)
      fitted = tuple(encoder.fit(_numbers(c), trained) for c in columns)
    return FittedPercentileWords(self, fitted)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPercentileWords:
  """Words (content/text_tokens.py) that know the buckets of their numbers.

  Attributes:
    options: as given.
    fitted: of each field.
  """

  options: PercentileWords
  fitted: tuple[FittedPercentiles, ...]

  def describe(self) -> dict[str, Any]:
    """What tokens and table depend on, the buckets too."""
    words: Words = self.options.words
    return {
      "name": "content.PercentileWords",
      "words": words.describe(),
      "in_order": self.options.in_order,
      "seed": self.options.seed,
      "buckets": self.options.buckets,
      "edges": [f.edges.tolist() for f in self.fitted],
      # JSON has no NaN.
      "heavy": [None if np.isnan(f.heavy) else f.heavy for f in self.fitted],
    }

  def split(self, texts: Sequence[str]) -> Int[np.ndarray, "N T"]:
    """The first token of each text, its numbers' tokens, and the others."""
    *columns, rest = split(texts, self.options.num_fields)
    tokens = np.asarray(self.options.words.split(rest), np.int32)
    rows = [
      self._first(field) + fitted.ids(_numbers(column))
      for field, (fitted, column) in enumerate(
        zip(self.fitted, columns, strict=True)
      )
    ]
    own = np.stack(rows, axis=1).astype(np.int32)
    return np.concatenate([tokens[:, :1], own, tokens[:, 1:]], axis=1)

  def table(self) -> Float[np.ndarray, "W D"]:
    """Vectors of words, then of each field's rows."""
    parts = [self._words]
    draw = np.random.default_rng(self.options.seed)
    std = float(self._words.std())
    for _ in self.fitted:
      rows = draw.normal(0, std, (self._rows, self._words.shape[1]))
      if self.options.in_order:
        # Missing and heavy ones are of no place in it.
        share = np.linspace(0, 1, self.options.buckets)[:, None]
        low, high = rows[1], rows[self.options.buckets]
        rows[1:-1] = (1 - share) * low + share * high
      parts.append(rows.astype(np.float32))
    return np.concatenate(parts)

  @functools.cached_property
  def _words(self):
    return np.asarray(self.options.words.table(), np.float32)

  @property
  def _rows(self) -> int:
    return Percentiles(self.options.buckets).rows

  def _first(self, field: int) -> int:
    return len(self._words) + field * self._rows


def _numbers(column: Sequence[str]) -> Float[np.ndarray, "N"]:
  """Values; NaN where there is none."""
  found = [number(value) for value in column]
  return np.array([np.nan if n is None else n for n in found], np.float64)
