# SPDX-License-Identifier: Apache-2.0
"""Rules that give every item codes of its own.

    DedupLevel         one more level: the running index among items that share
                       all codes (TIGER, arXiv 2305.05065)
    RandomLastLevel    a colliding item takes a free code of the last level
                       under its prefix, in a seeded order (GR2)
    SinkhornLastLevel  the items of a prefix share out its last codes by
                       Sinkhorn (after LC-Rec, arXiv 2311.09049)

`apply` codes a catalogue: rows are items in the order of their index, which
fixes the result. `assign` codes new items and changes no existing one; existing
rows may be equal, where a code went from a retired item to another. Both raise
a ValueError where a prefix needs more codes than the last level has.
Shapes: N items, n new ones, M levels, C codes of the last level.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.ops.sinkhorn import sinkhorn_codes

# Rows of the codes given -> what each code of the last level costs them.
Costs = Callable[[Int[np.ndarray, "n"]], Float[np.ndarray, "n C"]]


@runtime_checkable
class Uniqueness(Protocol):
  """What makes codes unique; `costs` are a fitted tokenizer's.

  Attributes:
    share_overflow: items share codes where none is free, instead of an error.
  """

  share_overflow: bool

  def sizes(self, level_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Level sizes after the rule."""

  def apply(
    self,
    codes_NM: Int[np.ndarray, "N M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "N M2"]:
    """Unique codes of a whole catalogue."""

  def assign(
    self,
    existing_NM: Int[np.ndarray, "N M2"],
    codes_nM: Int[np.ndarray, "n M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "n M2"]:
    """Codes of new items that no existing item has."""


class _Rule:
  """A rule by which a catalogue is new items beside none."""

  def apply(
    self,
    codes_NM: Int[np.ndarray, "N M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "N M2"]:
    """Codes of which none is taken twice."""
    nobody = np.zeros((0, len(self.sizes(level_sizes))), np.int32)
    return self.assign(nobody, codes_NM, level_sizes, costs)


class _LastLevelRule(_Rule):
  """One that finds other codes of the last level."""

  def sizes(self, level_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """As they were."""
    return level_sizes


@dataclasses.dataclass(frozen=True)
class DedupLevel(_Rule):
  """One more level that numbers the items of a group 0, 1, 2, ...

  Attributes:
    size: its codes, and so the most items that may share all others.
  """

  size: int = 256
  share_overflow: ClassVar[bool] = False

  def sizes(self, level_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Level sizes with the new level."""
    return (*level_sizes, self.size)

  def assign(
    self,
    existing_NM: Int[np.ndarray, "N M2"],
    codes_nM: Int[np.ndarray, "n M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "n M2"]:
    """New codes with the lowest free index of their group appended."""
    del costs
    index_n = np.zeros(len(codes_nM), np.int32)
    for used, rows in _groups(existing_NM[:, :-1], codes_nM):
      free = np.setdiff1d(np.arange(self.size), existing_NM[used, -1])
      taken = self.size - len(free)
      _check_room(taken, len(rows), self.size, codes_nM[rows[0]])
      index_n[rows] = free[: len(rows)]
    return np.concatenate([codes_nM, index_n[:, None]], axis=1)


@dataclasses.dataclass(frozen=True)
class RandomLastLevel(_LastLevelRule):
  """Replaces the last code of colliding items by a free one under the prefix.

  The first item of a group keeps the nearest code. Codes are tried in an order
  drawn from the seed and the prefix alone, so the order in which other
  prefixes fill up does not matter.

  Attributes:
    seed: of the orders.
    keep_nearest: False gives all items under a prefix random codes (as
      published), also where nearest ones would do.
    share_overflow: items for which no code is left keep their own and share
      it, instead of an error; so does a retired item that comes back.
  """

  seed: int = 0
  keep_nearest: bool = True
  share_overflow: bool = False

  def assign(
    self,
    existing_NM: Int[np.ndarray, "N M2"],
    codes_nM: Int[np.ndarray, "n M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "n M2"]:
    """New codes that are free under their prefix."""
    del costs

    def order(rows: np.ndarray) -> np.ndarray:
      prefix = codes_nM[rows[0], :-1].tolist()
      rng = np.random.default_rng([self.seed, *prefix])
      codes_C = rng.permutation(level_sizes[-1])
      return np.broadcast_to(codes_C, (len(rows), len(codes_C)))

    return _fill_last_level(
      existing_NM,
      codes_nM,
      level_sizes[-1],
      order,
      keep_nearest=self.keep_nearest,
      share_overflow=self.share_overflow,
    )


@dataclasses.dataclass(frozen=True)
class SinkhornLastLevel(_LastLevelRule):
  """Shares out the last codes of a prefix where two of its items collide.

  A soft assignment of all items under the prefix at the least cost, each code
  to one item (LC-Rec re-codes only the colliding ones, to equal shares, and
  repeats that; what it parts may collide with others). What it leaves equal
  (identical vectors always are), and every new item that finds its code taken,
  takes the cheapest code that is free.

  Attributes:
    softness, rounds: of ops/sinkhorn.py.
  """

  softness: float = 0.003
  rounds: int = 200
  share_overflow: ClassVar[bool] = False

  def apply(
    self,
    codes_NM: Int[np.ndarray, "N M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "N M2"]:
    """Codes of which none is taken twice."""
    costs = _needed(costs)
    codes_NM = codes_NM.copy()
    groups = []
    for _, rows in _groups(codes_NM[:0, :-1], codes_NM[:, :-1]):
      _check_room(0, len(rows), level_sizes[-1], codes_NM[rows[0], :-1])
      if len(np.unique(codes_NM[rows, -1])) < len(rows):
        groups.append(rows)
    found = _lookup(costs, groups)
    for rows in groups:
      codes_NM[rows, -1] = self._share_out(found(rows))
    return super().apply(codes_NM, level_sizes, costs)

  def assign(
    self,
    existing_NM: Int[np.ndarray, "N M2"],
    codes_nM: Int[np.ndarray, "n M"],
    level_sizes: tuple[int, ...],
    costs: Costs | None = None,
  ) -> Int[np.ndarray, "n M2"]:
    """New codes, the cheapest that are free under their prefix."""
    costs = _needed(costs)
    shared = _groups(existing_NM[:, :-1], codes_nM[:, :-1])
    found = _lookup(costs, [rows for _, rows in shared])
    return _fill_last_level(
      existing_NM,
      codes_nM,
      level_sizes[-1],
      lambda rows: np.argsort(found(rows), axis=1, kind="stable"),
      keep_nearest=True,
      share_overflow=False,
    )

  def _share_out(self, costs_nC):
    # Few shapes: each is one compilation.
    pad = (1 << (len(costs_nC) - 1).bit_length()) - len(costs_nC)
    real = np.arange(len(costs_nC) + pad) < len(costs_nC)
    padded = np.pad(costs_nC, ((0, pad), (0, 0)))
    codes = _jitted(padded, real, softness=self.softness, rounds=self.rounds)
    return np.asarray(codes)[: len(costs_nC)]


@functools.partial(jax.jit, static_argnames=("softness", "rounds"))
def _jitted(costs_nC, real_n, *, softness, rounds):
  return sinkhorn_codes(
    costs_nC, softness=softness, rounds=rounds, capacity=1.0, where_N=real_n
  )


def _needed(costs: Costs | None) -> Costs:
  if costs is None:
    raise ValueError(
      "SinkhornLastLevel compares last codes by cost: pass costs, such as"
      " lambda rows: fitted.last_level_costs(vectors[rows])."
    )
  return costs


def _lookup(costs: Costs, groups: list[np.ndarray]) -> Costs:
  """The same costs, computed at once for the rows of all groups."""
  rows = np.concatenate([np.zeros(0, np.int64), *groups])
  table = costs(rows)
  place = {int(row): i for i, row in enumerate(rows)}
  return lambda some: table[[place[int(row)] for row in some]]


def _groups(existing_NM: Any, codes_nM: Any, alone: bool = False):
  """Yields rows of existing and of new codes that are equal, group by group.

  Groups in the order of their codes, rows ascending; groups without a new row,
  and those of a single row unless `alone`, are left out.
  """
  stacked = np.concatenate([existing_NM, codes_nM])
  _, group = np.unique(stacked, axis=0, return_inverse=True)
  order = np.argsort(group.reshape(-1), kind="stable")
  ends = np.cumsum(np.bincount(group.reshape(-1)))[:-1] if len(group) else []
  for rows in np.split(order, ends):
    new = rows[rows >= len(existing_NM)] - len(existing_NM)
    if len(new) and (alone or len(rows) > 1):
      yield rows[rows < len(existing_NM)], new


def _fill_last_level(
  existing_NM, codes_nM, size, order, *, keep_nearest, share_overflow
):
  """Replaces last codes by the first free ones in each row's order.

  Args:
    existing_NM: codes that stay as they are.
    codes_nM: codes to make unique.
    size: of the last level.
    order: rows under one prefix -> codes (rows, C) in the order to try.
    keep_nearest: rows keep a last code that nobody before them has.
    share_overflow: rows without a free code keep their own.
  """
  codes_nM = codes_nM.copy()
  groups = _groups(existing_NM[:, :-1], codes_nM[:, :-1], not keep_nearest)
  for used, rows in groups:
    taken_C = np.zeros(size, bool)
    taken_C[existing_NM[used, -1]] = True
    if not share_overflow:
      _check_room(int(taken_C.sum()), len(rows), size, codes_nM[rows[0], :-1])
    waiting = []
    for row in rows:
      code = codes_nM[row, -1]
      if taken_C[code] or not keep_nearest:
        waiting.append(row)
      else:
        taken_C[code] = True
    if not waiting:
      continue
    for row, codes_C in zip(waiting, order(np.array(waiting)), strict=True):
      free = codes_C[~taken_C[codes_C]]
      if len(free):
        codes_nM[row, -1] = free[0]
        taken_C[free[0]] = True
  return codes_nM


def _check_room(taken: int, new: int, size: int, prefix: np.ndarray) -> None:
  if taken + new > size:
    raise ValueError(
      f"{taken + new} items share the codes {tuple(prefix.tolist())}, and the"
      f" last level has {size} codes to tell them apart. Use a larger last"
      " level, more levels or codes, or a tokenizer that spreads items better"
      " (the quality report shows the largest groups)."
    )
