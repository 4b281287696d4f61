# SPDX-License-Identifier: Apache-2.0
"""Most-popular: counts in order, ties, masks, and nothing of the user."""

import numpy as np

from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.baselines.top_k import top_k
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask


def _requests(count: int) -> Requests:
  zeros = np.zeros(count, np.int32)
  record = {"user": np.array(0, np.int32), "item": np.array([2], np.int32)}
  return Requests(zeros, zeros, [record] * count, zeros, zeros)


def test_most_counted_first_ties_by_index_and_no_pad():
  ranker = MostPopular(np.array([99, 1, 5, 5, 0]))
  ids, scores, aux = ranker.search(_requests(2), 6)
  assert ids.tolist() == [[2, 3, 1, 4, 0, 0]] * 2
  assert scores.tolist() == [[5, 5, 1, 0, -np.inf, -np.inf]] * 2
  assert aux == {}


def test_masks_leave_the_order_of_all_items_as_it_is():
  rng = np.random.default_rng(0)
  count = rng.integers(0, 4, 41)
  allowed = rng.random((6, 41)) < np.array([0, 0.1, 0.5, 0.9, 1, 1])[:, None]
  for k in (1, 7, 60):
    found = MostPopular(count).search(_requests(6), k, ItemMask.of(allowed))
    scores = np.broadcast_to(count[None].astype(np.float32), allowed.shape)
    expected = top_k(scores, k, allowed)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_masks_are_per_request():
  ranker = MostPopular(np.array([99, 1, 5, 5, 0]))
  allowed = np.array([[1, 1, 0, 1, 1], [1, 0, 1, 0, 0]], bool)
  ids, scores, _ = ranker.search(_requests(2), 2, ItemMask.of(allowed))
  assert ids.tolist() == [[3, 1], [2, 0]]
  assert scores.tolist() == [[5, 1], [5, -np.inf]]
  every = np.ones((2, 5), bool)
  for masked, plain in zip(
    ranker.search(_requests(2), 3, ItemMask.of(every))[:2],
    ranker.search(_requests(2), 3)[:2],
    strict=True,
  ):
    np.testing.assert_array_equal(masked, plain)
