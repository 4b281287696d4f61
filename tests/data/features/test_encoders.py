# SPDX-License-Identifier: Apache-2.0
"""Encoders: percentiles by rank alone, vocabularies by training alone."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from genrec_jax.data.features.encoders import (
  MISSING,
  UNSEEN,
  AtLeast,
  Hashed,
  LogBuckets,
  Percentiles,
  Vocabulary,
)

_NUMBERS = st.lists(st.integers(-50, 50), min_size=1, max_size=60)


def _fit(encoder, values, counts=None):
  values = np.asarray(values, object if isinstance(values[0], str) else float)
  if counts is None:
    counts = np.ones(len(values), np.int64)
  return encoder.fit(values, np.asarray(counts))


def _text(*values):
  return np.array(values, object)


@given(_NUMBERS, st.integers(2, 12))
def test_percentiles_are_the_share_below(values, buckets):
  fitted = _fit(Percentiles(buckets), values)
  ids = fitted.ids(np.array(values, float))
  rest = [v for v in values if v != fitted.heavy]
  for value, found in zip(values, ids.tolist(), strict=True):
    if value == fitted.heavy:
      assert found == buckets + 1
      continue
    below = sum(v < value for v in rest)
    assert found == 1 + buckets * below // len(rest)


@given(_NUMBERS, st.integers(2, 12))
def test_percentiles_do_not_depend_on_the_scale(values, buckets):
  x = np.array(values, float)
  y = np.exp(x / 10)
  np.testing.assert_array_equal(
    _fit(Percentiles(buckets), x).ids(x), _fit(Percentiles(buckets), y).ids(y)
  )


@given(_NUMBERS, st.integers(2, 12))
def test_a_count_is_as_many_values(values, buckets):
  found, counts = np.unique(np.array(values, float), return_counts=True)
  x = np.linspace(-60, 60, 77)
  np.testing.assert_array_equal(
    _fit(Percentiles(buckets), found, counts).ids(x),
    _fit(Percentiles(buckets), values).ids(x),
  )


def test_a_hundred_buckets_of_equal_mass():
  x = np.random.default_rng(0).lognormal(size=5000)
  ids = _fit(Percentiles(), x).ids(x)
  assert (np.bincount(ids, minlength=102)[1:101] == 50).all()
  assert Percentiles().rows == 102


def test_a_heavy_value_is_alone_and_missing_has_its_row():
  x = np.array([0.0] * 60 + list(range(-10, 30)))
  fitted = _fit(Percentiles(10), x)
  # -1 and 1 lie on both sides of the heavy 0, which stands in no bucket.
  ids = fitted.ids(np.array([0.0, -1.0, 1.0, np.nan, -99.0, 1e9]))
  assert ids[0] == 11 and 11 not in ids[1:]
  assert ids[3] == MISSING and ids[4] == 1 and ids[5] == 10
  # No count means that training did not see the value.
  assert _fit(Percentiles(2), [1.0, 2.0, 9.0], [1, 1, 0]).ids(x).max() == 2


def test_percentiles_of_nothing_and_of_one_value():
  nothing = _fit(Percentiles(4), [np.nan, np.nan])
  assert nothing.ids(np.array([np.nan, 3.0])).tolist() == [MISSING, 1]
  one = _fit(Percentiles(4), [7.0, 7.0])
  assert one.ids(np.array([7.0, 8.0])).tolist() == [5, 1]
  with pytest.raises(ValueError, match="percentiles need numbers"):
    _fit(Percentiles(4), ["a"])


def test_a_vocabulary_keeps_the_most_common_of_training():
  values = _text("b", "a", "c", None, "d", "a")
  counts = np.array([3, 1, 3, 9, 0, 1])
  fitted = Vocabulary(3).fit(values, counts)
  # b and c by count, then a; d never trained.
  assert fitted.ids(values).tolist() == [2, 4, 3, MISSING, UNSEEN, 4]
  assert fitted.ids(_text("e", None)).tolist() == [UNSEEN, MISSING]
  assert Vocabulary(2).fit(values, counts).ids(_text("a")) == UNSEEN
  rare = Vocabulary(3, min_count=3).fit(values, counts)
  assert rare.ids(_text("a", "b")).tolist() == [UNSEEN, 2]
  assert Vocabulary(3).rows == 5 > fitted.ids(values).max()


def test_a_vocabulary_of_numbers():
  fitted = _fit(Vocabulary(8), [3.0, 5.0, 5.0])
  ids = fitted.ids(np.array([5.0, 3.0, 4.0, np.nan]))
  assert ids.tolist() == [2, 3, UNSEEN, MISSING]


def test_hashes_stay_the_same_and_spread():
  hashed = Hashed(16)
  ids = hashed.ids(_text(*(f"user {i}" for i in range(500)), None))
  assert ids[-1] == MISSING and set(ids[:-1]) == set(range(1, 17))
  # crc32("user 0") by hand, so that a checkpoint fits every process.
  assert hashed.ids(_text("user 0")) == 1 + 0xBC8F08CF % 16
  assert hashed.rows == 17


@pytest.mark.parametrize(
  "make",
  [
    lambda: Vocabulary(0),
    lambda: Vocabulary(1, min_count=0),
    lambda: Hashed(0),
    lambda: Percentiles(1),
    lambda: LogBuckets(1),
  ],
)
def test_sizes_that_make_no_sense(make):
  with pytest.raises(ValueError, match="must be at least"):
    make()


def test_orders_of_magnitude_by_hand():
  hours = LogBuckets(4, unit=3600.0)
  values = 3600 * np.array([-5, 0, 1, 1.99, 2, 3.99, 4, 7.9, 8, 1e9, np.nan])
  assert hours.fit(values, np.ones(11, int)).ids(values).tolist() == [
    *(1, 1, 1, 1, 2, 2, 3, 3, 4, 4, MISSING)
  ]
  assert hours.rows == 5
  with pytest.raises(ValueError, match="buckets need numbers"):
    _fit(hours, ["a"])
  with pytest.raises(ValueError, match="unit=0.0 must be positive"):
    LogBuckets(4, unit=0.0)


def test_at_least():
  values = np.array([0.0, 0.9, 1.0, 7.0, np.nan])
  fitted = _fit(AtLeast(), values)
  assert fitted.ids(values).tolist() == [1, 1, 2, 2, MISSING]
  assert _fit(AtLeast(7.0), values).ids(values).tolist()[2:4] == [1, 2]
  assert AtLeast().rows == 3
  with pytest.raises(ValueError, match="limits need numbers"):
    _fit(AtLeast(), ["a"])
