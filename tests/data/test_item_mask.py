# SPDX-License-Identifier: Apache-2.0
"""Packed masks against booleans, at the borders of words, and their size."""

import tracemalloc

import numpy as np
import pytest

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.evaluation.full_ranking import history_mask

_SIZES = (1, 30, 31, 32, 33, 63, 64, 100)


def _allowed(num_items, seed=0):
  rng = np.random.default_rng(seed)
  share = np.array([0.0, 0.3, 0.8, 1.0])[:, None]
  return rng.random((4, num_items + 1)) < share


@pytest.mark.parametrize("num_items", _SIZES)
def test_what_is_packed_comes_out_again(num_items):
  allowed = _allowed(num_items)
  mask = ItemMask.of(allowed)
  # What a mask says of padding does not count.
  expected = allowed & (np.arange(num_items + 1) > 0)[None]
  np.testing.assert_array_equal(mask.dense(), expected)
  np.testing.assert_array_equal(mask.count(), expected.sum(axis=1))
  ids = np.random.default_rng(1).integers(0, num_items + 1, (4, 50), np.int32)
  np.testing.assert_array_equal(
    mask.at(ids), np.take_along_axis(expected, ids, axis=1)
  )
  np.testing.assert_array_equal(mask[1:3].dense(), expected[1:3])
  np.testing.assert_array_equal(
    mask[np.array([2, 0])].dense(), expected[[2, 0]]
  )
  more = mask.padded(6)
  np.testing.assert_array_equal(more.dense()[:4], expected)
  assert len(more) == 6 and not more.dense()[4:].any()


@pytest.mark.parametrize("num_items", _SIZES)
def test_all_but_some(num_items):
  rng = np.random.default_rng(2)
  hidden = [rng.integers(1, num_items + 1, n, np.int32) for n in (0, 1, 9, 200)]
  expected = np.ones((4, num_items + 1), bool)
  expected[:, 0] = False
  for row, ids in zip(expected, hidden, strict=True):
    row[ids] = False
  np.testing.assert_array_equal(
    ItemMask.all_but(hidden, num_items).dense(), expected
  )
  assert len(ItemMask.all_but([], num_items)) == 0


@pytest.mark.parametrize("num_items", _SIZES)
def test_words_that_begin_with_any_item(num_items):
  allowed = _allowed(num_items)
  allowed[:, 0] = False
  mask = ItemMask.of(allowed)
  # Rows that fill a table up are beyond the last item.
  longer = np.pad(allowed, ((0, 0), (0, 130)))
  for first in range(0, num_items + 40, 7):
    for count in (1, 31, 32, 33, 64, 90):
      words = mask.words_from(first, count)
      assert words.shape == (4, -(-count // 32))
      found = ItemMask(words, words.shape[1] * 32 - 1).dense()
      part = longer[:, first : first + count]
      part = np.pad(part, ((0, 0), (0, count - part.shape[1])))
      np.testing.assert_array_equal(found[:, :count], part)
      assert not found[:, count:].any()


def test_a_mask_of_others_is_refused():
  mask = ItemMask.of(_allowed(5))
  mask.check(4, 5)
  for rows, items in ((3, 5), (4, 6)):
    with pytest.raises(ValueError, match="4 requests and 5 items; expected"):
      mask.check(rows, items)


def test_hiding_histories_makes_nothing_as_large_as_booleans():
  num_items, rows = 2_000_000, 16
  record = {"user": np.array(0, np.int32)}
  histories = [
    {**record, "item": np.arange(1 + i, num_items, 9_999, np.int32)}
    for i in range(rows)
  ]
  requests = make_requests([(h, len(h["item"]) - 1) for h in histories])
  tracemalloc.start()
  mask = history_mask(requests, num_items)
  hidden = num_items - mask.count()
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert hidden.tolist() == [len(h["item"]) - 1 for h in histories]
  assert mask.words_BW.nbytes <= rows * (num_items / 8 + 4)
  assert peak < rows * num_items / 2
