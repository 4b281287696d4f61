# SPDX-License-Identifier: Apache-2.0
"""Brute force: exactness, masks, fills, and one device == eight devices."""

import jax
import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.brute_force import BruteForce


def _numpy_search(query, items, k, allowed=None):
  scores = query.astype(np.float64) @ items.astype(np.float64).T
  scores[:, 0] = -np.inf
  if allowed is not None:
    scores[~allowed] = -np.inf
  missing = max(k - scores.shape[1], 0)
  scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
  ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  scores = np.take_along_axis(scores, ids, axis=1)
  return np.where(scores == -np.inf, 0, ids), scores


@pytest.mark.parametrize("k", [1, 10, 60])
@pytest.mark.parametrize("block_items", [7, 65_536])
def test_equals_numpy(k, block_items):
  rng = np.random.default_rng(0)
  query = rng.normal(size=(5, 8)).astype(np.float32)
  items = rng.normal(size=(51, 8)).astype(np.float32)
  items[30:40] = items[10:20]  # Ties.
  allowed = rng.random((5, 51)) < 0.5
  allowed[4] = False
  index = BruteForce.build(items, block_items=block_items)
  for mask in (None, allowed):
    packed = None if mask is None else ItemMask.of(mask)
    ids, scores, aux = index.search(query, k, packed)
    expected_ids, expected_scores = _numpy_search(query, items, k, mask)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-6)
    assert aux == {}
  assert not (np.asarray(ids) == 0)[:4, :1].any()
  assert (np.asarray(ids)[4] == 0).all()
  assert (np.asarray(scores)[4] == -np.inf).all()


def test_rebuilding_with_new_vectors_compiles_nothing(caplog):
  rng = np.random.default_rng(0)
  items = rng.normal(size=(33, 4)).astype(np.float32)
  query = rng.normal(size=(2, 4)).astype(np.float32)
  BruteForce.build(items).search(query, 3)
  with jax.log_compiles(), caplog.at_level("WARNING"):
    BruteForce.build(items + 1).search(query, 3)
  assert not [r for r in caplog.messages if "sharded_top_k" in r]


def test_bad_shapes_name_the_shapes():
  index = BruteForce.build(np.ones((4, 3), np.float32))
  with pytest.raises(ValueError, match="width 2"):
    index.search(np.ones((1, 2), np.float32), 1)
  query, mask = np.ones((1, 3), np.float32), ItemMask.of(np.ones((1, 3), bool))
  with pytest.raises(ValueError, match="1 requests and 2 items; expected 1"):
    index.search(query, 1, mask)
  with pytest.raises(ValueError, match="at least"):
    BruteForce.build(np.ones((1, 3), np.float32))


@pytest.mark.parametrize("num_rows", [2, 200, 201])
@pytest.mark.parametrize("block_items", [9, 65_536])
def test_eight_devices_equal_one(num_rows, block_items):
  assert jax.device_count() == 8
  rng = np.random.default_rng(0)
  # Small integers: exact products, so ids must agree to the last tie.
  query = rng.integers(-2, 3, (5, 4)).astype(np.float32)
  items = rng.integers(-2, 3, (num_rows, 4)).astype(np.float32)
  items[0] = 100.0
  allowed = ItemMask.of(rng.random((5, num_rows)) < 0.7)
  one = BruteForce.build(items, devices=jax.devices()[:1])
  eight = BruteForce.build(items, block_items=block_items)
  for k, mask in ((1, None), (30, allowed)):
    expected = one.search(query, k, mask)
    got = eight.search(query, k, mask)
    assert len(got[0].sharding.device_set) == 8
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("block_items", [48, 100, 65_536])
def test_the_host_s_selection_equals_enumeration(block_items):
  rng = np.random.default_rng(1)
  # Exact products of few values: nearly all scores tie.
  query = rng.integers(-1, 2, (9, 3)).astype(np.float32)
  items = rng.integers(-1, 2, (501, 3)).astype(np.float32)
  items[0] = 9.0
  allowed = rng.random((9, 501)) < 0.9
  allowed[3, 40:] = False
  index = BruteForce.build(
    items, devices=jax.devices()[:1], block_items=block_items
  )
  for k in (1, 20, 200, 600):
    expected = _numpy_search(query, items, k, allowed)
    ids, scores, _ = index.search(query, k, ItemMask.of(allowed))
    assert isinstance(ids, np.ndarray)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


def test_no_score_is_lost_to_nan_infinity_or_the_sign_of_zero():
  query = np.array([[1.0]], np.float32)
  values = [0, -0.0, 0.0, np.nan, 1.0, -np.inf, 1.0, np.inf, -2.0]
  items = np.array(values, np.float32)[:, None]
  index = BruteForce.build(items, devices=jax.devices()[:1])
  ids, scores, _ = index.search(query, 8)
  assert ids.tolist() == [[7, 4, 6, 1, 2, 8, 0, 0]]
  expected = [np.inf, 1.0, 1.0, 0.0, 0.0, -2.0, -np.inf, -np.inf]
  assert scores.tolist() == [expected]
