# SPDX-License-Identifier: Apache-2.0
"""Several lists of one request joined into one: functions of arrays.

    by_quotas            the first q_m items of list m that no list before it
                         gave, list after list
    by_reciprocal_rank   score(i) = sum over lists m of w_m / (k0 + place_m(i))

Lists are ids (B, N_m), best first, places from 1, each item once and id 0
behind them (`cleaned`). Both rules place each item once and leave none out: B
requests of P ids in all cost a sort of (B, P). Scores fall along a list; behind
the items stand id 0 and score -inf.

Reciprocal rank fusion: Cormack, Clarke and Buettcher, Reciprocal rank fusion
outperforms Condorcet and individual rank learning methods, SIGIR 2009; k0 is 60
there.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.item_mask import ItemMask

Lists = Sequence[Int[np.ndarray, "B _"]]
Joined = tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]


def cleaned(
  ids_BN: Int[np.ndarray, "B N"], allowed: ItemMask | None = None
) -> Int[np.ndarray, "B N"]:
  """Allowed items alone, each at its first place, and id 0 behind them."""
  order_BN = np.argsort(ids_BN, axis=1, kind="stable")
  sorted_BN = np.take_along_axis(ids_BN, order_BN, axis=1)
  keep_BN = np.empty(ids_BN.shape, bool)
  first_BN = np.diff(sorted_BN, axis=1, prepend=0) > 0
  np.put_along_axis(keep_BN, order_BN, first_BN, axis=1)
  if allowed is not None:
    keep_BN &= allowed.at(ids_BN)
  order_BN = np.argsort(~keep_BN, axis=1, kind="stable")
  kept_BN = np.where(keep_BN, ids_BN, 0)
  return np.take_along_axis(kept_BN, order_BN, axis=1).astype(np.int32)


def by_quotas(lists: Lists, quotas: Sequence[int], k: int) -> Joined:
  """The first k of the items by quotas, and 1 / place as their score.

  What is left of the lists follows by its best place in any (ties: the earlier
  list), so that the others fill the places of one that is short.

  Args:
    lists: of `cleaned`.
    quotas: of each list, 0 or more; one of 0 only fills.
    k: places.
  """
  pool = _Pool.of(lists)
  width = max(ids.shape[1] for ids in lists)
  fill_P = width * len(lists) + pool.place_P * len(lists) + pool.list_P
  key_BG = pool.least(fill_P)
  nothing_BG = pool.items_BG == 0
  taken_BG, start = nothing_BG.copy(), 0
  for number, (ids_BN, quota) in enumerate(zip(lists, quotas, strict=True)):
    group_BN = pool.group_BP[:, start : start + ids_BN.shape[1]]
    start += ids_BN.shape[1]
    free_BN = ~np.take_along_axis(taken_BG, group_BN, axis=1)
    row, place = np.nonzero(free_BN & (np.cumsum(free_BN, axis=1) <= quota))
    group = group_BN[row, place]
    key_BG[row, group] = width * number + place
    taken_BG[row, group] = True
  key_BG[nothing_BG] = np.iinfo(np.int64).max
  ids_BK = pool.first(np.argsort(key_BG, axis=1, kind="stable"), k)
  score_K = (1 / np.arange(1, k + 1)).astype(np.float32)
  return ids_BK, np.where(ids_BK > 0, score_K, -np.inf).astype(np.float32)


def by_reciprocal_rank(
  lists: Lists, weights: Sequence[float], k0: float, k: int
) -> Joined:
  """The k of highest score.

  Scores are compared as float32. Ties: the item of the earliest list first, and
  in one list the lower id.

  Args:
    lists: of `cleaned`.
    weights: of each list, above 0.
    k0: 0 or more; the larger, the less the first places count.
    k: places.
  """
  pool = _Pool.of(lists)
  gain_P = np.asarray(weights, np.float64)[pool.list_P] / (k0 + pool.place_P)
  score_BG = np.zeros(pool.items_BG.shape)
  np.add.at(score_BG, (pool.rows_B1, pool.group_BP), gain_P)
  score_BG = score_BG.astype(np.float32)
  score_BG[pool.items_BG == 0] = -np.inf
  earliest_BG = pool.least(pool.list_P)
  order_BG = np.lexsort((pool.items_BG, earliest_BG, -score_BG), axis=1)
  scores_BK = np.take_along_axis(score_BG, order_BG[:, :k], axis=1)
  missing = ((0, 0), (0, k - scores_BK.shape[1]))
  return (
    pool.first(order_BG, k),
    np.pad(scores_BK, missing, constant_values=-np.inf),
  )


@dataclasses.dataclass(frozen=True)
class _Pool:
  """The items of all lists, P ids a request, and which of them are the same.

  Attributes:
    items_BG: each request's different items by id; 0 in the other places.
    group_BP: place of every id in items_BG.
    list_P: number of the list that an id stands in, from 0.
    place_P: place in it, from 1.
  """

  items_BG: Int[np.ndarray, "B P"]
  group_BP: Int[np.ndarray, "B P"]
  list_P: Int[np.ndarray, "P"]
  place_P: Int[np.ndarray, "P"]

  @classmethod
  def of(cls, lists: Lists) -> "_Pool":
    """See the class."""
    ids_BP = np.concatenate(lists, axis=1)
    order_BP = np.argsort(ids_BP, axis=1, kind="stable")
    sorted_BP = np.take_along_axis(ids_BP, order_BP, axis=1)
    new_BP = np.diff(sorted_BP, axis=1, prepend=-1) != 0
    rank_BP = np.cumsum(new_BP, axis=1) - 1
    group_BP = np.empty_like(rank_BP)
    np.put_along_axis(group_BP, order_BP, rank_BP, axis=1)
    items_BG = np.zeros_like(ids_BP)
    np.put_along_axis(items_BG, rank_BP, sorted_BP, axis=1)
    lengths = [ids.shape[1] for ids in lists]
    return cls(
      items_BG,
      group_BP,
      np.repeat(np.arange(len(lists)), lengths),
      np.concatenate([np.arange(1, n + 1) for n in lengths]),
    )

  @property
  def rows_B1(self) -> Int[np.ndarray, "B 1"]:
    """Number of every request."""
    return np.arange(len(self.group_BP))[:, None]

  def least(self, value_P: Int[np.ndarray, "P"]) -> Int[np.ndarray, "B P"]:
    """The least value among the places of each item."""
    found_BG = np.full(self.items_BG.shape, np.iinfo(np.int64).max)
    np.minimum.at(found_BG, (self.rows_B1, self.group_BP), value_P)
    return found_BG

  def first(
    self, order_BG: Int[np.ndarray, "B P"], k: int
  ) -> Int[np.ndarray, "B K"]:
    """The first k items in an order; id 0 where there are fewer."""
    ids_BK = np.take_along_axis(self.items_BG, order_BG[:, :k], axis=1)
    return np.pad(ids_BK, ((0, 0), (0, k - ids_BK.shape[1]))).astype(np.int32)
