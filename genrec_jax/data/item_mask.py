# SPDX-License-Identifier: Apache-2.0
"""Which items each request may get, one bit each, by item id.

    word w, bit i      item 32 w + i      uint32 (B, V // 32 + 1)

This is `allowed` of every search(requests, k, allowed). Of V items a request
takes V / 8 bytes, where a boolean would take V: 256 requests over 10 million
items are 320 MB, and not 2.6 GB. A history is hidden without anything of the
size (B, V). Who has scores of all items beside it unpacks it (`dense`); who
has found a few looks them up (`at`); who goes over items in blocks takes the
words as they are. decoding/item_bits.py has the same in the order of a trie.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Int, UInt32
import numpy as np

BITS = 32
_ALL = np.uint32(2**32 - 1)


def num_words(num_items: int) -> int:
  """Words of a row: of ids 0 (padding) to V."""
  return num_items // BITS + 1


@dataclasses.dataclass(frozen=True)
class ItemMask:
  """See the module docstring.

  Attributes:
    words_BW: the bits; id 0 and ids beyond the last item are never allowed.
    num_items: V.
  """

  words_BW: UInt32[np.ndarray, "B W"]
  num_items: int

  @classmethod
  def of(cls, allowed_BV1: Bool[np.ndarray, "B V1"]) -> "ItemMask":
    """Packs a mask by item id; what it says of id 0 does not count."""
    rows, columns = allowed_BV1.shape
    num_items = columns - 1
    bits = np.zeros((rows, num_words(num_items) * BITS), bool)
    bits[:, 1:columns] = allowed_BV1[:, 1:]
    return cls(_pack(bits), num_items)

  @classmethod
  def all_but(
    cls, hidden: Sequence[Int[np.ndarray, "..."]], num_items: int
  ) -> "ItemMask":
    """All items without those listed for each row; ids may repeat."""
    full = np.ones((1, num_words(num_items) * BITS), bool)
    full[:, 0] = full[:, num_items + 1 :] = False
    words = np.repeat(_pack(full), len(hidden), axis=0)
    lengths = [len(ids) for ids in hidden]
    if sum(lengths):
      rows = np.repeat(np.arange(len(hidden)), lengths)
      ids = np.concatenate(hidden)
      kept = _ALL ^ (np.uint32(1) << (ids % BITS).astype(np.uint32))
      # One by one: several may be of one word.
      np.bitwise_and.at(words, (rows, ids // BITS), kept)
    return cls(words, num_items)

  def __len__(self) -> int:
    return len(self.words_BW)

  def __and__(self, other: "ItemMask") -> "ItemMask":
    """What both allow; a mask of one row goes with every row."""
    return dataclasses.replace(self, words_BW=self.words_BW & other.words_BW)

  def __getitem__(self, rows: slice | Int[np.ndarray, "n"]) -> "ItemMask":
    """Some of the rows."""
    return dataclasses.replace(self, words_BW=self.words_BW[rows])

  def check(self, num_rows: int, num_items: int) -> None:
    """Raises a ValueError where the mask is of other requests or items."""
    if (len(self), self.num_items) != (num_rows, num_items):
      raise ValueError(
        f"allowed is of {len(self)} requests and {self.num_items:,} items;"
        f" expected {num_rows} requests and {num_items:,} items"
      )

  def padded(self, num_rows: int) -> "ItemMask":
    """The same with rows that allow nothing, up to num_rows."""
    missing = ((0, num_rows - len(self)), (0, 0))
    return dataclasses.replace(self, words_BW=np.pad(self.words_BW, missing))

  def count(self) -> Int[np.ndarray, "B"]:
    """Allowed items of every row."""
    return np.bitwise_count(self.words_BW).sum(axis=1, dtype=np.int64)

  def at(self, ids_BK: Int[np.ndarray, "B K"]) -> Bool[np.ndarray, "B K"]:
    """Whether a row allows each of its ids; False for 0."""
    words_BK = np.take_along_axis(self.words_BW, ids_BK // BITS, axis=1)
    return (words_BK >> (ids_BK % BITS).astype(np.uint32)) & 1 > 0

  def dense(self) -> Bool[np.ndarray, "B V1"]:
    """The mask as booleans by item id: 8 times as large."""
    bits = _unpack(self.words_BW)
    return bits[:, : self.num_items + 1]

  def words_from(self, first: int, count: int) -> UInt32[np.ndarray, "B W2"]:
    """Words whose bit 0 is item `first`, of `count` items from there on."""
    start = first // BITS
    words = -(-count // BITS)
    part = self.words_BW[:, start : start + words + 1]
    part = np.pad(part, ((0, 0), (0, words + 1 - part.shape[1])))
    shift = np.uint32(first % BITS)
    if shift:
      part = (part[:, :-1] >> shift) | (part[:, 1:] << np.uint32(BITS - shift))
    part = part[:, :words].copy()
    if count % BITS:
      part[:, -1] &= _ALL >> np.uint32(BITS - count % BITS)
    return part


def _pack(bits: Bool[np.ndarray, "B N"]) -> UInt32[np.ndarray, "B W"]:
  packed = np.packbits(bits, axis=1, bitorder="little")
  return packed.view("<u4").astype(np.uint32)


def _unpack(words: UInt32[np.ndarray, "B W"]) -> Bool[np.ndarray, "B N"]:
  packed = words.astype("<u4").view(np.uint8)
  return np.unpackbits(packed, axis=1, bitorder="little").view(bool)
