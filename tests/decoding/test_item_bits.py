# SPDX-License-Identifier: Apache-2.0
"""Bitsets against boolean masks: counts, unions, and what is left out."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding import item_bits
from genrec_jax.decoding.trie import Trie

_pack = jax.jit(item_bits.pack)
_of_ids = jax.jit(item_bits.of_ids)
_unpack = jax.jit(item_bits.unpack)
_all_but = jax.jit(item_bits.all_but)
_count_before = jax.jit(item_bits.ItemBits.count_before)


def _trie(num_items, rng):
  codes = rng.integers(0, 4, (num_items + 1, 3), np.int32)
  live = rng.random(num_items + 1) < 0.8
  live[0] = False
  # One shape whatever lives, so that a number of items is one compilation.
  most = Trie.build(codes, (4, 4, 4)).sizes
  return Trie.build(codes, (4, 4, 4), live, sizes=most), live


@pytest.mark.slow
@settings(max_examples=20)
@given(
  # A word has 32 bits, and the end of all items lies in a word of its own.
  num_items=st.sampled_from([0, 31, 32, 70]),
  seed=st.integers(0, 1000),
)
def test_counts_are_those_of_the_mask(num_items, seed):
  rng = np.random.default_rng(seed)
  trie, live = _trie(num_items, rng)
  allowed = rng.random((3, num_items + 1)) < rng.choice([0.0, 0.4, 1.0], (3, 1))
  bits = _pack(trie, allowed)
  np.testing.assert_array_equal(_unpack(trie, bits), allowed & live[None, :])
  by_id = _of_ids(trie, ItemMask.of(allowed).words_BW)
  np.testing.assert_array_equal(by_id.words_BW, bits.words_BW)
  np.testing.assert_array_equal(by_id.before_BW, bits.before_BW)
  ordered = (allowed & live[None, :])[:, np.asarray(trie.items_N)]
  places = np.arange(num_items + 1, dtype=np.int32)
  ordered = ordered & (np.asarray(trie.items_N) > 0)[None, :]
  expected = np.array([[row[:p].sum() for p in places] for row in ordered])
  places = jnp.tile(places[:, None], (3, 1, 2))
  counts = _count_before(bits, places)
  np.testing.assert_array_equal(counts[..., 1], expected)


@pytest.mark.slow
@settings(max_examples=20)
@given(num_items=st.sampled_from([0, 32, 70]), seed=st.integers(0, 1000))
def test_all_but_a_list_is_the_mask_without_it(num_items, seed):
  rng = np.random.default_rng(seed)
  trie, live = _trie(num_items, rng)
  # With repetitions, padding and dead items.
  ids = rng.integers(0, num_items + 1, (3, 9), np.int32)
  allowed = np.tile(live, (3, 1))
  np.put_along_axis(allowed, ids, False, axis=1)
  bits = _all_but(trie, ids)
  expected = _pack(trie, allowed)
  np.testing.assert_array_equal(bits.words_BW, expected.words_BW)
  np.testing.assert_array_equal(bits.before_BW, expected.before_BW)


def test_masks_meet():
  rng = np.random.default_rng(1)
  trie, _ = _trie(70, rng)
  a, b = rng.random((2, 3, 71)) < 0.5
  both = _pack(trie, a) & _pack(trie, b)
  expected = _pack(trie, a & b)
  np.testing.assert_array_equal(both.words_BW, expected.words_BW)
  np.testing.assert_array_equal(both.before_BW, expected.before_BW)


def test_a_mask_of_another_catalogue_is_refused():
  trie, _ = _trie(5, np.random.default_rng(0))
  with pytest.raises(ValueError, match="7 columns .* 6 items"):
    item_bits.pack(trie, jnp.ones((1, 7), bool))
