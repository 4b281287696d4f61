# SPDX-License-Identifier: Apache-2.0
"""Which items a request may get, one bit each, in trie order.

    allowed items before p      before[p // 32] + popcount(low bits of its word)
    in [low, high)              the difference of two of them

Items below a trie state are one range, so "is there an allowed item below" is
two look-ups per candidate, for any mask: seen items, stock, category, age.
A word has its count beside it: V / 4 bytes a request, where a boolean mask
has V. The same by item id is data/item_mask.py.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from genrec_jax.decoding.trie import Trie

_BITS = 32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ItemBits:
  """Allowed items of every request.

  Attributes:
    words_BW: uint32; bit i of word w is item 32 w + i in trie order. There is a
      word more than full ones, so that the end of all items lies in a word.
    before_BW: int32; allowed items in the words before each.
  """

  words_BW: Any
  before_BW: Any

  @classmethod
  def from_words(cls, words_BW: UInt32[Array, "B W"]) -> "ItemBits":
    """Counts the bits."""
    counts_BW = jax.lax.population_count(words_BW).astype(jnp.int32)
    return cls(words_BW, jnp.cumsum(counts_BW, axis=1) - counts_BW)

  def count_before(self, places: Int[Array, "B *K"]) -> Int[Array, "B *K"]:
    """Allowed items before each place (0 to N) in trie order."""
    flat = places.reshape(places.shape[0], -1)
    word = jnp.take_along_axis(self.words_BW, flat // _BITS, axis=1)
    before = jnp.take_along_axis(self.before_BW, flat // _BITS, axis=1)
    bit = (flat % _BITS).astype(jnp.uint32)
    low = word & ((jnp.uint32(1) << bit) - jnp.uint32(1))
    count = before + jax.lax.population_count(low).astype(jnp.int32)
    return count.reshape(places.shape)

  def at(self, place_N: Int[Array, "N"]) -> Bool[Array, "B N"]:
    """Which of these places in trie order each request may get."""
    word_BN = self.words_BW[:, place_N // _BITS]
    shift_N = (place_N % _BITS).astype(jnp.uint32)
    return (word_BN >> shift_N[None, :]) & jnp.uint32(1) == 1

  def __and__(self, other: "ItemBits") -> "ItemBits":
    """Items that both allow."""
    return ItemBits.from_words(self.words_BW & other.words_BW)


def pack(trie: Trie, allowed_BV1: Bool[Array, "B V1"]) -> ItemBits:
  """Bits of a mask by item id; ids without a place in the trie do not count.

  Raises:
    ValueError: the mask is of another catalogue than the trie.
  """
  num_rows = trie.place_V1.shape[0]
  if allowed_BV1.shape[1] != num_rows:
    raise ValueError(
      f"the mask has {allowed_BV1.shape[1]:,} columns and the trie is of"
      f" {num_rows:,} items with the padding: give one column per item id"
    )
  # The one id of an empty trie is 0, which nobody gets.
  allowed_BN = allowed_BV1[:, trie.items_N] & (trie.items_N > 0)[None, :]
  batch, count = allowed_BN.shape
  words = count // _BITS + 1
  allowed_BN = jnp.pad(allowed_BN, ((0, 0), (0, words * _BITS - count)))
  bits_BWb = allowed_BN.reshape(batch, words, _BITS).astype(jnp.uint32)
  shift_b = jnp.arange(_BITS, dtype=jnp.uint32)[None, None, :]
  return ItemBits.from_words(
    jnp.sum(bits_BWb << shift_b, axis=2, dtype=jnp.uint32)
  )


def of_ids(trie: Trie, words_BW: UInt32[Array, "B W2"]) -> ItemBits:
  """Bits of words by item id (data/item_mask.py), a bit of each word a step.

  Nothing of the size (B, V + 1) is made.

  Raises:
    ValueError: the words are of another catalogue than the trie.
  """
  num_rows = trie.place_V1.shape[0]
  if words_BW.shape[1] != -(-num_rows // _BITS):
    raise ValueError(
      f"the mask has {words_BW.shape[1]:,} words and the trie is of"
      f" {num_rows:,} items with the padding: give one bit per item id"
    )
  count = trie.items_N.shape[0]
  words = count // _BITS + 1
  # Id 0, which no mask allows, fills the last word.
  ids_N = jnp.pad(trie.items_N, (0, words * _BITS - count))
  ids_bW = ids_N.reshape(words, _BITS).T

  def add(bit, found_BW):
    ids_W = ids_bW[bit]
    shift_W = (ids_W % _BITS).astype(jnp.uint32)
    set_BW = (words_BW[:, ids_W // _BITS] >> shift_W[None, :]) & jnp.uint32(1)
    return found_BW | (set_BW << bit.astype(jnp.uint32))

  start = jnp.zeros((words_BW.shape[0], words), jnp.uint32)
  return ItemBits.from_words(jax.lax.fori_loop(0, _BITS, add, start))


def all_but(trie: Trie, ids_BL: Int[Array, "B L"]) -> ItemBits:
  """Bits of all items without those listed, such as a user's history.

  Nothing of the size (B, V + 1) is made. Ids may repeat; ids without a place
  in the trie (0 among them) are left out of the list.
  """
  count = trie.items_N.shape[0]
  words = count // _BITS + 1
  batch = ids_BL.shape[0]
  live = jnp.sum(trie.items_N > 0)  # fewer than count in an empty trie only
  full = jnp.arange(words) * _BITS
  ones_W = jnp.clip(live - full, 0, _BITS).astype(jnp.uint32)
  # A shift by 32 is undefined: the word of 32 ones stands apart.
  words_W = jnp.where(
    ones_W == _BITS,
    jnp.uint32(0xFFFFFFFF),
    (jnp.uint32(1) << (ones_W % _BITS)) - jnp.uint32(1),
  )
  # Sorted, so that an id's second mention stands beside its first: bits that
  # differ add up to their union.
  place_BL = jnp.sort(trie.place_V1[ids_BL], axis=1)
  first_BL = jnp.pad(
    place_BL[:, 1:] != place_BL[:, :-1], ((0, 0), (1, 0)), constant_values=True
  )
  bit_BL = jnp.uint32(1) << (place_BL % _BITS).astype(jnp.uint32)
  bit_BL = jnp.where(first_BL & (place_BL >= 0), bit_BL, jnp.uint32(0))
  word_BL = jnp.maximum(place_BL, 0) // _BITS
  row_BL = jnp.broadcast_to(jnp.arange(batch)[:, None], word_BL.shape)
  listed_BW = jnp.zeros((batch, words), jnp.uint32)
  listed_BW = listed_BW.at[row_BL, word_BL].add(bit_BL)
  return ItemBits.from_words(words_W[None, :] & ~listed_BW)


def unpack(trie: Trie, bits: ItemBits) -> Bool[Array, "B V1"]:
  """The mask by item id; False for ids without a place in the trie."""
  set_BV1 = bits.at(jnp.maximum(trie.place_V1, 0))
  return set_BV1 & (trie.place_V1 >= 0)[None, :]
