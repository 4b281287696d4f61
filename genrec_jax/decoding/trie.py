# SPDX-License-Identifier: Apache-2.0
"""The prefixes of all items' codes as arrays: what decoding may continue with.

A state of depth m is a prefix of m codes that some item has; the root is depth
0 and a leaf depth M. States of a depth are numbered in lexical order, so
children of a state are neighbours, and so are the items below it:

    children of s   [first_child[m][s], first_child[m][s + 1])     depth m + 1
    items below s   [first_item[m][s], first_item[m][s + 1])       trie order

Trie order sorts items by (codes, id). The first levels also have a dense table
of S x (C + 1) child numbers, which answers for all codes with one row; deeper
ones are gathered child by child (CSR), at most `max_branch` of them.

Built once on the host in O(V M log V); for 12,101 items of 4 x 256 codes about
0.6 MB. It is a pytree of int32 arrays and static numbers: an argument of jitted
functions, which compile anew when its shapes change.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

from genrec_jax.decoding.trie_sizes import TrieSizes

# Entries of the largest dense table: 4 MiB.
_DENSE_ENTRIES = 1 << 20


def _static():
  return dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trie:
  """All prefixes of the live items' codes; make one with `Trie.build`.

  Arrays are int32, or described (`abstract`). S is the number of states of the
  depth. Arrays may be longer than there are
  states and items (there is at least one): nothing leads to those that fill up.

  Attributes:
    first_child: by depth 0 to M - 1: first child of each state (S + 1).
    dense: by depth 0 to dense levels - 1: the first child whose code is at
      least c (S, C + 1); c is a child's code where c + 1 has another entry.
    code: by depth 1 to M, at [depth - 1]: last code of each state (S).
    parent: likewise, the state without its last code.
    first_item: by depth 0 to M: first item, in trie order, of each (S + 1).
    items_N: item ids in trie order; then 0.
    place_V1: where an item stands in items_N; -1: nowhere.
    level_sizes: codes C of each level.
    max_branch: at least the children of any state, by depth 0 to M - 1.
    max_group: at least the items that share all codes.
  """

  first_child: tuple[Any, ...]
  dense: tuple[Any, ...]
  code: tuple[Any, ...]
  parent: tuple[Any, ...]
  first_item: tuple[Any, ...]
  items_N: Any
  place_V1: Any
  level_sizes: tuple[int, ...] = _static()
  max_branch: tuple[int, ...] = _static()
  max_group: int = _static()

  @classmethod
  def build(
    cls,
    codes_VM: Int[np.ndarray, "V1 M"],
    level_sizes: Sequence[int],
    live: Bool[np.ndarray, "_"] | None = None,
    *,
    dense_levels: int | None = None,
    sizes: TrieSizes | None = None,
  ) -> "Trie":
    """Sorts the items and numbers their prefixes.

    Args:
      codes_VM: codes of every item, 0-based within their level; row 0 is
        padding.
      level_sizes: codes of each level.
      live: items that can be recommended; None = all. Others are not looked
        at, whatever their codes.
      dense_levels: how many levels have a dense table; None = those up to the
        first whose table would exceed 2^20 entries or be mostly empty.
      sizes: fills the arrays up to these, for programs compiled for them;
        they also say dense_levels. None = no larger than needed.

    Raises:
      ValueError: shapes that do not belong together, a code outside its
        level, or sizes that are too small.
    """
    level_sizes = tuple(int(size) for size in level_sizes)
    ids_N = _live_items(codes_VM, level_sizes, live)
    codes_NM = codes_VM[ids_N]
    # Stable, so items that share all codes stay in order of their id.
    order_N = np.lexsort(codes_NM.T[::-1])
    ids_N, codes_NM = ids_N[order_N], codes_NM[order_N]
    num_items, levels = codes_NM.shape

    # The item at which each state begins, by depth.
    new_NM = np.ones((num_items, levels), bool)
    new_NM[1:] = np.logical_or.accumulate(codes_NM[1:] != codes_NM[:-1], axis=1)
    starts = [np.zeros(1, np.int64)]
    starts += [np.flatnonzero(new_NM[:, m]) for m in range(levels)]
    parent = [
      np.searchsorted(starts[m], starts[m + 1], "right") - 1
      for m in range(levels)
    ]
    first_child = [
      np.searchsorted(parent[m], np.arange(len(starts[m]) + 1))
      for m in range(levels)
    ]
    groups = np.diff(np.append(starts[-1], num_items))
    needed = TrieSizes(
      level_sizes=level_sizes,
      rows=len(codes_VM),
      # One place, state and child at least: arrays of none cannot be read.
      items=max(num_items, 1),
      states=tuple(max(len(s), 1) for s in starts[1:]),
      branch=tuple(int(np.diff(f).max(initial=1)) for f in first_child),
      group=int(groups.max(initial=1)),
      dense_levels=0,
    )
    if sizes is None:
      if dense_levels is None:
        dense_levels = _dense_levels(needed)
      sizes = dataclasses.replace(needed, dense_levels=dense_levels)
    sizes.check_holds(needed)
    code = [codes_NM[starts[m + 1], m] for m in range(levels)]
    place_V1 = np.full(len(codes_VM), -1)
    place_V1[ids_N] = np.arange(num_items)
    states = (1, *sizes.states)
    return cls(
      first_child=tuple(
        _filled(first_child[m], states[m] + 1, len(parent[m]))
        for m in range(levels)
      ),
      dense=tuple(
        _dense_table(parent[m], code[m], states[m], level_sizes[m])
        for m in range(sizes.dense_levels)
      ),
      code=tuple(_filled(code[m], states[m + 1], 0) for m in range(levels)),
      parent=tuple(_filled(parent[m], states[m + 1], 0) for m in range(levels)),
      first_item=tuple(
        _filled(starts[m], states[m] + 1, num_items) for m in range(levels + 1)
      ),
      items_N=_filled(ids_N, sizes.items, 0),
      place_V1=_filled(place_V1, sizes.rows, -1),
      level_sizes=level_sizes,
      max_branch=sizes.branch,
      max_group=sizes.group,
    )

  @classmethod
  def abstract(cls, sizes: TrieSizes) -> "Trie":
    """Shapes of a trie of these sizes, to compile for."""
    depths = (1, *sizes.states)
    levels = len(sizes.states)

    def array(*shape):
      return jax.ShapeDtypeStruct(shape, jnp.int32)

    return cls(
      first_child=tuple(array(depths[m] + 1) for m in range(levels)),
      dense=tuple(
        array(depths[m], sizes.level_sizes[m] + 1)
        for m in range(sizes.dense_levels)
      ),
      code=tuple(array(count) for count in sizes.states),
      parent=tuple(array(count) for count in sizes.states),
      first_item=tuple(array(count + 1) for count in depths),
      items_N=array(sizes.items),
      place_V1=array(sizes.rows),
      level_sizes=sizes.level_sizes,
      max_branch=sizes.branch,
      max_group=sizes.group,
    )

  @property
  def sizes(self) -> TrieSizes:
    """What programs that take this trie are compiled for."""
    return TrieSizes(
      level_sizes=self.level_sizes,
      rows=self.place_V1.shape[0],
      items=self.items_N.shape[0],
      states=tuple(code.shape[0] for code in self.code),
      branch=self.max_branch,
      group=self.max_group,
      dense_levels=len(self.dense),
    )

  @property
  def num_levels(self) -> int:
    """M."""
    return len(self.level_sizes)

  def num_states(self, depth: int) -> int:
    """States of a depth that the arrays have room for."""
    return self.first_item[depth].shape[0] - 1

  def width(self, level: int) -> int:
    """Candidates J of a state: all codes, or as many as any state has."""
    if level < len(self.dense):
      return self.level_sizes[level]
    return self.max_branch[level]

  def edges(
    self, level: int, states: Int[Array, "..."]
  ) -> Int[Array, "... J1"]:
    """Child numbers e: candidate j is child e[j], if it is not e[j + 1]."""
    if level < len(self.dense):
      return self.dense[level][states]
    first = self.first_child[level][states]
    end = self.first_child[level][states + 1]
    steps = np.arange(self.max_branch[level] + 1, dtype=np.int32)
    steps = steps.reshape((1,) * first.ndim + (-1,))
    return jnp.minimum(first[..., None] + steps, end[..., None])

  def child(
    self, level: int, states: Int[Array, "..."], columns: Int[Array, "..."]
  ) -> Int[Array, "..."]:
    """The child that candidate `columns` of each state is, if it is one."""
    if level < len(self.dense):
      return self.dense[level][states, columns]
    last = self.num_states(level + 1) - 1
    return jnp.minimum(self.first_child[level][states] + columns, last)

  def follow(
    self, level: int, states: Int[Array, "..."], codes: Int[Array, "..."]
  ) -> tuple[Int[Array, "..."], Bool[Array, "..."]]:
    """The child with this code, and whether there is one."""
    if level < len(self.dense):
      child = self.dense[level][states, codes]
      found = self.dense[level][states, codes + 1] > child
      return _inside(child, self.num_states(level + 1)), found
    low = self.first_child[level][states]
    end = high = self.first_child[level][states + 1]
    last = self.num_states(level + 1)
    for _ in range(self.max_branch[level].bit_length()):
      middle = (low + high) // 2
      below = self.code[level][_inside(middle, last)] < codes
      open_ = low < high
      low = jnp.where(open_ & below, middle + 1, low)
      high = jnp.where(open_ & ~below, middle, high)
    child = _inside(low, last)
    return child, (low < end) & (self.code[level][child] == codes)

  def leaves(self, ids: Int[Array, "..."]) -> Int[Array, "..."]:
    """The leaf of items by id; without meaning where place_V1 is -1."""
    places = jnp.maximum(self.place_V1[ids], 0)
    return jnp.searchsorted(self.first_item[-1][1:], places, side="right")

  def prefixes(
    self, depth: int, states: Int[Array, "..."]
  ) -> tuple[Int[Array, "..."], ...]:
    """The states on the way from depth 1 to states of a depth, inclusive."""
    path = [states]
    for above in range(depth - 1, 0, -1):
      path.append(self.parent[above][path[-1]])
    return tuple(reversed(path))

  def codes(self, leaves: Int[Array, "..."]) -> Int[Array, "... M"]:
    """All codes of leaves."""
    path = self.prefixes(self.num_levels, leaves)
    return jnp.stack(
      [self.code[m][states] for m, states in enumerate(path)], axis=-1
    )


def _inside(index, size):
  return jnp.minimum(index, size - 1)


def _live_items(codes_VM, sizes, live) -> np.ndarray:
  """Ids of the items to sort, checked."""
  rows, levels = codes_VM.shape
  if levels != len(sizes) or not levels or min(sizes) < 1:
    raise ValueError(
      f"codes have {levels} levels and level_sizes is {sizes}; it needs one"
      " positive number of codes for each level"
    )
  if rows < 1:
    raise ValueError("codes have no row 0, which stands for padding")
  if live is not None and live.shape != (rows,):
    raise ValueError(
      f"live has shape {live.shape} and codes have {rows} rows; both need one"
      " entry per item and one for the padding, item 0"
    )
  ids_N = np.arange(1, rows) if live is None else np.flatnonzero(live)
  ids_N = ids_N[ids_N > 0]
  codes_NM = codes_VM[ids_N]
  wrong = (codes_NM < 0) | (codes_NM >= np.array(sizes)[None, :])
  if wrong.any():
    row, level = np.argwhere(wrong)[0]
    raise ValueError(
      f"item {ids_N[row]} has code {codes_NM[row, level]} at level {level},"
      f" whose codes are 0 to {sizes[level] - 1}; {int(wrong.sum()):,} codes"
      " are outside their level. Retired items are left out by live=."
    )
  return ids_N


def _dense_levels(needed: TrieSizes) -> int:
  """Levels from the top whose tables are small and not mostly empty."""
  states = (1, *needed.states)
  for level, size in enumerate(needed.level_sizes):
    small = states[level] * (size + 1) <= _DENSE_ENTRIES
    # A table's row costs top-k all C codes, the tail max_branch of them.
    if not (small and 4 * needed.branch[level] >= size):
      return level
  return len(needed.level_sizes)


def _dense_table(parent, code, num_states, size) -> Array:
  """First child of each state with at least each code (S, C + 1)."""
  keys = parent.astype(np.int64) * size + code
  wanted = np.arange(num_states)[:, None] * size + np.arange(size + 1)[None, :]
  return jnp.asarray(np.searchsorted(keys, wanted), jnp.int32)


def _filled(values, size, value) -> Array:
  """int32 on the device, filled up to the size."""
  return jnp.asarray(
    np.pad(values, (0, size - len(values)), constant_values=value), jnp.int32
  )
