# SPDX-License-Identifier: Apache-2.0
"""Values of a feature -> rows of its table: vocabulary, hash or buckets.

    Vocabulary    0 missing   1 unseen or rare   2.. the most common values
    Hashed        0 missing   1 + crc32(text) mod size
    Percentiles   0 missing   1 + floor(buckets F(x))   last: one heavy value
    ByType        Percentiles of numbers, Vocabulary of text
    LogBuckets    0 missing   1 + floor(log2(x / unit)), within 1 .. buckets
    AtLeast       0 missing   1 below the least   2 not below it

F(x) is the share of training values below x, so equal values share a bucket
and every order-preserving change of scale leaves the buckets as they are. A
value with more than a bucket's share of the data (mostly: a count of 0) gets a
row to itself and is left out of F (LinkedIn's percentile tokens, 2510.14223).
What is fitted sees the training part alone; later values never fail: unseen
ones have a row of their own, numbers beyond all others the outermost bucket.
Values are float64 with NaN for missing, or text in an object array with None.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol, runtime_checkable
import zlib

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.core.suggest import short

MISSING = 0
UNSEEN = 1


@runtime_checkable
class FittedEncoder(Protocol):
  """An encoder that knows its data."""

  def ids(self, values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Rows of the values."""

  def num_unseen(self, values: np.ndarray) -> int:
    """How many of the values share the row of the unseen."""


@runtime_checkable
class FeatureEncoder(Protocol):
  """How a feature's values become rows of a table of `rows` rows."""

  @property
  def rows(self) -> int:
    """Of the table."""

  def fit(
    self, values: np.ndarray, counts: Int[np.ndarray, "n"]
  ) -> FittedEncoder:
    """Learns from values and how often training met each of them."""


def missing(values: np.ndarray) -> Bool[np.ndarray, "n"]:
  """Where there is no value."""
  if values.dtype == object:
    return np.array([value is None for value in values], bool)
  return np.isnan(values)


def _example(values: np.ndarray) -> str:
  """A text among values."""
  return next((value for value in values if value is not None), "")


def _numbers(values: np.ndarray, what: str) -> None:
  if values.dtype == object:
    raise ValueError(
      f"{what} need numbers, and this is text, such as"
      f" {short(_example(values))}: use a Vocabulary or Hashed for it."
    )


def _positive(name: str, value: int, least: int = 1) -> None:
  if value < least:
    raise ValueError(f"{name}={value} must be at least {least}.")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The most common values, each with a row of its own.

  Attributes:
    size: values at most.
    min_count: rarer values share the row of the unseen, which is trained so.
  """

  size: int
  min_count: int = 1

  def __post_init__(self):
    _positive("size", self.size)
    _positive("min_count", self.min_count)

  @property
  def rows(self) -> int:
    """Missing, unseen, and the values."""
    return self.size + 2

  def fit(
    self, values: np.ndarray, counts: Int[np.ndarray, "n"]
  ) -> "FittedVocabulary":
    """Keeps the most common; of equally common ones the first in order."""
    there = ~missing(values)
    found, place = np.unique(values[there], return_inverse=True)
    total = np.bincount(place, weights=counts[there], minlength=len(found))
    common = np.argsort(-total, kind="stable")
    common = common[total[common] >= self.min_count][: self.size]
    kept = found[common].tolist()
    return FittedVocabulary({v: i + UNSEEN + 1 for i, v in enumerate(kept)})


@dataclasses.dataclass(frozen=True, eq=False)
class FittedVocabulary:
  """See Vocabulary; `rows` by value."""

  rows: Mapping[Any, int]

  def ids(self, values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Rows of the values; 1 for those that training did not keep."""
    found = [self.rows.get(value, UNSEEN) for value in values.tolist()]
    ids = np.array(found, np.int32).reshape(values.shape)
    return np.where(missing(values), MISSING, ids).astype(np.int32)

  def num_unseen(self, values: np.ndarray) -> int:
    """How many of the values training did not keep."""
    return int((self.ids(values) == UNSEEN).sum())


@dataclasses.dataclass(frozen=True)
class Hashed:
  """Values by a hash of their text: nothing to fit, and values collide.

  Attributes:
    size: buckets.
  """

  size: int

  def __post_init__(self):
    _positive("size", self.size)

  @property
  def rows(self) -> int:
    """Missing, and the buckets."""
    return self.size + 1

  def fit(self, values: np.ndarray, counts: Int[np.ndarray, "n"]) -> "Hashed":
    """The same: a hash needs no data."""
    del values, counts
    return self

  def ids(self, values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Rows of the values."""
    # Not Python's hash, which differs between processes.
    hashed = [zlib.crc32(str(value).encode()) for value in values.tolist()]
    ids = 1 + np.array(hashed, np.int64).reshape(values.shape) % self.size
    return np.where(missing(values), MISSING, ids).astype(np.int32)

  def num_unseen(self, values: np.ndarray) -> int:
    """None: a hash knows every value."""
    del values
    return 0


@dataclasses.dataclass(frozen=True)
class Percentiles:
  """Numbers by the share of training values below them.

  Attributes:
    buckets: of equal mass.
  """

  buckets: int = 100

  def __post_init__(self):
    _positive("buckets", self.buckets, 2)

  @property
  def rows(self) -> int:
    """Missing, the buckets, and the heavy value."""
    return self.buckets + 2

  def fit(
    self, values: np.ndarray, counts: Int[np.ndarray, "n"]
  ) -> "FittedPercentiles":
    """Finds the heavy value and the edges of the buckets.

    Raises:
      ValueError: text instead of numbers.
    """
    _numbers(values, "percentiles")
    there = ~np.isnan(values) & (counts > 0)
    found, place = np.unique(values[there], return_inverse=True)
    weight = np.bincount(place, weights=counts[there], minlength=len(found))
    heavy = np.nan
    if len(found) and weight.max() * self.buckets > weight.sum():
      heavy = float(found[weight.argmax()])
      rest = found != heavy
      found, weight = found[rest], weight[rest]
    if not len(found):
      return FittedPercentiles(np.zeros(0), heavy, self.buckets)
    # Bucket b ends at the first value up to which b / buckets of them lie.
    at = np.cumsum(weight) * self.buckets
    ends = np.arange(1, self.buckets) * weight.sum()
    edges = found[np.searchsorted(at, ends, side="left")]
    return FittedPercentiles(edges, heavy, self.buckets)


@dataclasses.dataclass(frozen=True)
class ByType:
  """Numbers and truth values by percentile, text by vocabulary.

  For a column whose type only the data know: the table has rows for either.

  Attributes:
    size, min_count: see Vocabulary.
    buckets: see Percentiles.
  """

  size: int = 8192
  min_count: int = 1
  buckets: int = 100

  def __post_init__(self):
    self._of_text, self._of_numbers  # noqa: B018 (both check their options)

  @property
  def _of_text(self) -> Vocabulary:
    return Vocabulary(self.size, self.min_count)

  @property
  def _of_numbers(self) -> Percentiles:
    return Percentiles(self.buckets)

  @property
  def rows(self) -> int:
    """Of the larger of the two."""
    return max(self._of_text.rows, self._of_numbers.rows)

  def fit(
    self, values: np.ndarray, counts: Int[np.ndarray, "n"]
  ) -> FittedEncoder:
    """By the type of the values."""
    is_text = values.dtype == object
    return (self._of_text if is_text else self._of_numbers).fit(values, counts)


@dataclasses.dataclass(frozen=True)
class LogBuckets:
  """Numbers by their order of magnitude: nothing to fit.

  What is below twice the unit, negative numbers too, is in the first bucket.

  Attributes:
    buckets: each twice as wide as the one before; the last has no end.
    unit: 3600 makes hours of seconds.
  """

  buckets: int = 16
  unit: float = 1.0

  def __post_init__(self):
    _positive("buckets", self.buckets, 2)
    if not self.unit > 0:
      raise ValueError(f"unit={self.unit} must be positive.")

  @property
  def rows(self) -> int:
    """Missing, and the buckets."""
    return self.buckets + 1

  def fit(
    self, values: np.ndarray, counts: Int[np.ndarray, "n"]
  ) -> "LogBuckets":
    """The same; ValueError for text."""
    del counts
    _numbers(values, "buckets")
    return self

  def ids(self, values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Rows of the values."""
    there = np.where(np.isnan(values), 1.0, values)
    bucket = np.floor(np.log2(np.maximum(there / self.unit, 1.0)))
    ids = 1 + np.minimum(bucket, self.buckets - 1)
    return np.where(np.isnan(values), MISSING, ids).astype(np.int32)

  def num_unseen(self, values: np.ndarray) -> int:
    """None: a number has a bucket, seen or not."""
    del values
    return 0


@dataclasses.dataclass(frozen=True)
class AtLeast:
  """Whether a number is at least so large: nothing to fit.

  Attributes:
    least: the smallest number of row 2.
  """

  least: float = 1.0

  @property
  def rows(self) -> int:
    """Missing, no and yes."""
    return 3

  def fit(self, values: np.ndarray, counts: Int[np.ndarray, "n"]) -> "AtLeast":
    """The same; ValueError for text."""
    del counts
    _numbers(values, "limits")
    return self

  def ids(self, values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Rows of the values."""
    ids = np.where(values >= self.least, 2, 1)
    return np.where(np.isnan(values), MISSING, ids).astype(np.int32)

  def num_unseen(self, values: np.ndarray) -> int:
    """None: a number has a row, seen or not."""
    del values
    return 0


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPercentiles:
  """See Percentiles.

  Attributes:
    edges: a value's bucket is 1 + how many of them lie below it.
    heavy: the value with a row of its own; NaN for none.
    buckets: of equal mass.
  """

  edges: Float[np.ndarray, "E"]
  heavy: float
  buckets: int

  def ids(self, values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Rows of the values."""
    ids = 1 + np.searchsorted(self.edges, values, side="left")
    ids = np.where(values == self.heavy, self.buckets + 1, ids)
    return np.where(np.isnan(values), MISSING, ids).astype(np.int32)

  def num_unseen(self, values: np.ndarray) -> int:
    """None: a number has a bucket, seen or not."""
    del values
    return 0
