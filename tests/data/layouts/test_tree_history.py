# SPDX-License-Identifier: Apache-2.0
"""What can follow first codes, and items that share them."""

import numpy as np
import pytest

from genrec_jax.data.layouts.code_children import Siblings, children_of
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.data.layouts.tree_history import TreeHistory
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_SIZES = (2, 4, 3)


def _codes(items=12):
  rng = np.random.default_rng(3)
  codes = np.stack([rng.integers(0, s, items + 1) for s in _SIZES], axis=1)
  codes[0] = 0
  return codes.astype(np.int32)


def test_children_are_those_of_the_items_with_the_same_first_codes():
  codes = _codes()
  found = children_of(codes, 4)
  assert not found[0].any()
  for item in range(1, len(codes)):
    for level in range(3):
      expected = np.zeros(4, bool)
      for other in codes[1:]:
        if (other[:level] == codes[item, :level]).all():
          expected[other[level]] = True
      np.testing.assert_array_equal(found[item, level], expected)


def _layout(kind=TreeHistory, **options):
  layout = kind(max_length=6, num_levels=3, num_codes=4, **options)
  return layout.bind(ArtifactsByHand(None, codes_V1M=_codes()))


def test_a_batch_has_the_children_on_the_way_to_its_targets():
  layout = _layout(TokenHistory)
  rows = np.zeros((1, 3, 2), np.int32)
  rows[0, :2, 0] = [5, 7]
  place = np.array([[0, 1, 0]])
  batch = layout.batch(rows, np.array([[1, 1, 0]]), place)
  found = children_of(_codes(), 4)
  np.testing.assert_array_equal(batch["children_BSMC"][0, :2], found[[5, 7]])
  assert not batch["children_BSMC"][0, 2].any()
  shape = (
    TokenHistory(6, 3, num_codes=4)
    .batch(rows, place, place)["children_BSMC"]
    .shape
  )
  assert shape == batch["children_BSMC"].shape


def test_drawn_items_share_first_codes_of_every_number_equally():
  codes, rng = _codes(200), np.random.default_rng(0)
  siblings = Siblings.of(codes)
  items = rng.integers(1, 201, 4000)
  drawn = siblings.draw(items, 3, rng)
  assert drawn.min() >= 1 and drawn.max() <= 200
  same = codes[drawn] == codes[items][:, None]
  shared = np.cumprod(same, axis=2).sum(axis=2)
  # Draws by hand: a level, then anyone who shares that many codes.
  expected = np.zeros(4)
  for item in items[:500]:
    prefix = np.cumprod(codes[1:] == codes[item][None], axis=1).sum(axis=1)
    for level in range(3):
      among = prefix[prefix >= level]
      expected += np.bincount(among, minlength=4) / len(among) / 1500
  found = np.bincount(shared.reshape(-1), minlength=4) / shared.size
  np.testing.assert_allclose(found, expected, atol=0.02)


def test_examples_draw_and_requests_do_not():
  layout = _layout(ranked=3)
  record = {"item": np.array([3, 4, 5]), "user": np.int32(0)}
  rows = layout.example(record, 3, np.random.default_rng(0))
  assert rows.shape == (3, 5) and (rows[:, 2:] > 0).all()
  assert not layout.example(record, 3)[:, 2:].any()
  segments = np.ones((1, 3), np.int32)
  batch = layout.batch(rows[None], segments, np.array([[0, 1, 2]]))
  np.testing.assert_array_equal(batch["ranked_item_BSK"][0], rows[:, 2:])
  np.testing.assert_array_equal(
    batch["ranked_codes_BSKM"], _codes()[batch["ranked_item_BSK"]]
  )
  asked = layout.batch(rows[None, :, :2], segments, np.array([[0, 1, 2]]))
  assert not asked["ranked_item_BSK"].any()


def test_sizes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="num_codes=4 must be the size"):
    _layout().check_system(ModelByHand(level_sizes=(2, 5)))
  _layout().check_system(ModelByHand(level_sizes=_SIZES))
  with pytest.raises(ValueError, match="have code 3"):
    children_of(_codes(), 3)
