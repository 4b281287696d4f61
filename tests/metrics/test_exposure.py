# SPDX-License-Identifier: Apache-2.0
"""Exposure by its definitions: pairs of lists, pairs of items, hand values."""

import itertools
import math

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.metrics.exposure import (
  Exposure,
  entropy_bits,
  gini,
  top_share,
)

_V, _K = 7, 4
_lists = st.lists(
  st.lists(st.integers(-1, _V), min_size=_K, max_size=_K), max_size=8
)


def _array(rows):
  return np.array(rows, np.int32).reshape(-1, _K)


def _personalization_by_pairs(rows):
  sets = [set(row) - {0, -1} for row in rows]
  sets = [s for s in sets if s]
  cosines = [
    len(a & b) / math.sqrt(len(a) * len(b))
    for a, b in itertools.combinations(sets, 2)
  ]
  return 1 - sum(cosines) / len(cosines) if cosines else None


@settings(max_examples=200, deadline=None)
@given(rows=_lists)
def test_personalization_equals_the_loop_over_pairs(rows):
  got = Exposure.from_batch(_array(rows), _V).personalization()
  expected = _personalization_by_pairs(rows)
  assert got == (expected if expected is None else pytest.approx(expected))


def test_personalization_of_full_lists_is_a_count():
  rng = np.random.default_rng(0)
  rows = np.stack([rng.permutation(np.arange(1, 31))[:10] for _ in range(20)])
  count = np.bincount(rows.ravel())
  expected = 1 - (count * (count - 1)).sum() / 10 / (20 * 19)
  got = Exposure.from_batch(rows, 30).compute()["personalization"]
  assert got == pytest.approx(expected)


def test_equal_lists_and_strangers():
  same = Exposure.from_batch(np.array([[1, 2], [2, 1], [1, 2]]), 6)
  assert same.personalization() == pytest.approx(0)
  apart = Exposure.from_batch(np.array([[1, 2], [3, 4], [5, 6]]), 6)
  assert apart.personalization() == pytest.approx(1)


@settings(max_examples=200, deadline=None)
@given(rows=_lists, cut=st.integers(0, 8))
def test_merging_is_counting_together(rows, cut):
  whole = Exposure.from_batch(_array(rows), _V)
  merged = Exposure.empty(_V)
  for part in (rows[:cut], rows[cut:]):
    merged = merged.merge(Exposure.from_batch(_array(part), _V))
  assert merged.places_V1.tolist() == whole.places_V1.tolist()
  assert (merged.lists, merged.filled) == (whole.lists, whole.filled)
  np.testing.assert_allclose(merged.directions_V1, whole.directions_V1)
  shown = [i for row in rows for i in row if i > 0]
  assert whole.compute()["coverage"] == len(set(shown)) / _V
  assert whole.places_V1.sum() == len(shown)


def test_all_alike_and_all_for_one():
  alike = Exposure.from_batch(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), 8)
  figures = alike.compute()
  assert figures["gini"] == 0
  assert figures["entropy"] == pytest.approx(math.log2(8))
  assert figures["effective_items"] == pytest.approx(8)
  assert figures["coverage"] == 1
  one = Exposure.from_batch(np.array([[5], [5], [5]]), 8).compute()
  assert one["gini"] == pytest.approx(1)
  assert one["entropy"] == 0 and math.copysign(1, one["entropy"]) == 1
  assert one["effective_items"] == 1
  assert one["coverage"] == 1 / 8
  assert one["personalization"] == pytest.approx(0)


@settings(max_examples=200, deadline=None)
@given(
  amounts=st.lists(st.integers(0, 9), min_size=2, max_size=9).filter(any),
  seed=st.integers(0, 99),
)
def test_gini_is_the_mean_difference_and_knows_no_names(amounts, seed):
  difference = sum(abs(a - b) for a in amounts for b in amounts)
  expected = difference / (2 * (len(amounts) - 1) * sum(amounts))
  amounts = np.array(amounts)
  assert gini(amounts) == pytest.approx(expected)
  renamed = np.random.default_rng(seed).permutation(amounts)
  assert gini(renamed) == gini(amounts)
  assert entropy_bits(renamed) == pytest.approx(entropy_bits(amounts))


def test_top_share_rounds_the_number_of_items_up():
  amounts = np.array([1, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2])
  assert top_share(amounts, 1) == 0.5  # 1 of 12
  assert top_share(amounts, 10) == 0.7  # 2 of 12
  assert top_share(amounts, 100) == 1
  # 7 of 100 in floating point is a little more than 7.
  assert top_share(np.arange(100), 7) == pytest.approx(672 / 4950)
  with pytest.raises(ValueError, match="percent=0"):
    top_share(amounts, 0)


def test_what_nothing_was_shown_of_is_not_defined():
  figures = Exposure.empty(3).compute()
  assert figures.pop("coverage") == 0
  assert set(figures.values()) == {None}
  assert gini(np.array([4])) is None


def test_merge_refuses_another_catalogue():
  with pytest.raises(ValueError, match="of 2 and of 3 items"):
    Exposure.empty(2).merge(Exposure.empty(3))
