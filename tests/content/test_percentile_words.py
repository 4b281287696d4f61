# SPDX-License-Identifier: Apache-2.0
"""Numbers as tokens of their percentile, against NumPy's quantiles."""

import json

import numpy as np
import pytest

from genrec_jax.content.hashed_words import HashedWords
from genrec_jax.content.percentile_words import PercentileWords

_WORDS = HashedWords(num_words=50, max_tokens=4, width=6)
_ROWS = 10 + 2


def _texts(values):
  shown = ["" if np.isnan(v) else repr(float(v)) for v in values]
  return [f"{v}¦thing {i}" for i, v in enumerate(shown)]


def _rows(fitted, values):
  """Rows of the first field's table."""
  return fitted.split(_texts(values))[:, 1] - 50


def _fit(values, counts=None, **options):
  words = PercentileWords(_WORDS, buckets=10, **options)
  counts = np.ones(len(values), int) if counts is None else counts
  return words.fit(_texts(values), counts)


def test_buckets_are_those_of_numpy():
  """F's inverse as edges, and how many of them lie below a value."""
  values = np.random.default_rng(0).lognormal(size=237)
  fitted = _fit(values)
  edges = np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf")
  asked = np.concatenate([values, edges, edges + 1e-9, [-5.0, 1e9]])
  expected = 1 + np.searchsorted(edges, asked, side="left")
  np.testing.assert_array_equal(_rows(fitted, asked), expected)
  order = np.argsort(asked)
  assert (np.diff(_rows(fitted, asked)[order]) >= 0).all()


def test_ties_stay_together_and_missing_numbers_have_a_token():
  values = [*[0.0] * 60, *range(1, 41), np.nan]
  rows = _rows(_fit(values), values)
  assert set(rows[:60]) == {11} and rows[-1] == 0
  assert set(rows[60:100]) == set(range(1, 11))


def test_what_training_did_not_see_moves_no_bucket():
  """Items that first came later, and numbers that only they have."""
  rng = np.random.default_rng(1)
  known, later = rng.normal(size=100), rng.normal(size=50)
  counts = np.array([1 + i % 7 for i in range(100)] + [0] * 50)
  first = _fit(np.concatenate([known, later]), counts)
  other = _fit(np.concatenate([known, 1e6 + later]), counts)
  assert first.describe() == other.describe()
  alone = _fit(known, counts[:100])
  np.testing.assert_array_equal(_rows(first, later), _rows(alone, later))
  assert (_rows(other, 1e6 + later) == 10).all()
  changed = known.copy()
  changed[:50] += 3
  assert _fit(changed).describe() != alone.describe()


def test_tokens_stand_behind_the_first_and_in_front_of_the_text():
  words = PercentileWords(_WORDS, num_fields=2, buckets=10)
  texts = ["", *(f"{i}¦{-i}¦red pen {i} and more" for i in range(20))]
  fitted = words.fit(texts, np.array([0] + [1] * 20))
  tokens = fitted.split(texts)
  plain = _WORDS.split(["", *(f"red pen {i} and more" for i in range(20))])
  assert tokens.shape == (21, 4 + 2) and tokens.dtype == np.int32
  np.testing.assert_array_equal(np.delete(tokens, (1, 2), axis=1), plain)
  # Two numbers a bucket, each field in rows of its own.
  up = 1 + np.arange(20) // 2
  np.testing.assert_array_equal(tokens[1:, 1], 50 + up)
  np.testing.assert_array_equal(tokens[1:, 2], 50 + _ROWS + up[::-1])
  table = fitted.table()
  assert table.shape == (50 + 2 * _ROWS, 6) and table.dtype == np.float32
  np.testing.assert_array_equal(table[:50], _WORDS.table())
  json.dumps(fitted.describe(), allow_nan=False)


def test_neighbouring_buckets_start_alike():
  values = np.arange(100.0)
  for in_order in (True, False):
    table = _fit(values, in_order=in_order).table()[50:]
    steps = np.linalg.norm(np.diff(table[1:11], axis=0), axis=1)
    whole = np.linalg.norm(table[10] - table[1])
    assert np.allclose(steps, whole / 9, rtol=1e-4) == in_order
    assert len({row.tobytes() for row in table}) == _ROWS


def test_given_edges_keep_their_tokens():
  values = [*[0.0] * 30, *range(1, 71)]
  fitted = _fit(values)
  said = fitted.describe()
  again = PercentileWords(
    _WORDS,
    buckets=10,
    edges=tuple(map(tuple, said["edges"])),
    heavy=tuple(said["heavy"]),
  ).fit(_texts([5.0, 6.0]), np.ones(2, int))
  assert said["heavy"] == [0.0] and again.describe() == said
  np.testing.assert_array_equal(_rows(again, values), _rows(fitted, values))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"edges": ((1.0, 3.0, 2.0),)}, r"edges\[0\] must be .* in ascending"),
    ({"edges": ((1.0, float("nan")),)}, r"edges\[0\] must be .* in ascending"),
    (
      {"edges": (tuple(map(float, range(10))),)},
      r"at most buckets - 1 = 9 numbers",
    ),
    ({"edges": ((1.0,), (2.0,))}, "edges are of 2 fields, and num_fields=1"),
    ({"heavy": (0.0,)}, "heavy goes with edges"),
    ({"num_fields": 0}, "num_fields=0 must be at least 1"),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    PercentileWords(_WORDS, buckets=10, **options)


def test_a_text_without_its_numbers_is_refused():
  words = PercentileWords(_WORDS, num_fields=2)
  with pytest.raises(ValueError, match="has 2 pieces"):
    words.fit(["1¦red pen"], np.ones(1, int))
