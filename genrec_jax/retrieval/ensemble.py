# SPDX-License-Identifier: Apache-2.0
"""Several searches that answer as one: search(requests, k, allowed).

    ensemble = Ensemble({"model": search, "item_knn": knn.search},
                        ReciprocalRank(weights={"model": 2.0}),
                        num_results=100, num_items=V, rest=popular.search)

Every member is asked for max(k, num_results) items, and a rule joins their
lists (joined_lists.py): an item stands once, what is not allowed never, and a
list of fewer places is the beginning of the longer one. Where the members
together find fewer items than there are allowed ones, `rest` fills the places
behind theirs, with scores below 0. Scores are the rule's: they order a list and
mean no probability.
"""

from collections.abc import Mapping
import dataclasses
import math
import numbers
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.seams import Search
from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval import joined_lists

Lists = Mapping[str, Int[np.ndarray, "B _"]]
# Sums of a few such weights stay finite in float32.
_LARGEST = 1e30


@runtime_checkable
class ListRule(Protocol):
  """How the lists of members become one."""

  def check(self, members: tuple[str, ...], num_results: int) -> None:
    """Raises a ValueError where it does not fit the members, by name.

    Args:
      members: in their order.
      num_results: items of the joined list.
    """

  def __call__(
    self, lists: Lists, k: int
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """Ids and scores of the first k places, of lists by member."""


@dataclasses.dataclass(frozen=True)
class Quotas:
  """So many items of each member, one after the other.

  Attributes:
    quotas: member -> items; one of 0 only fills the places of short lists.
  """

  quotas: Any

  def check(self, members: tuple[str, ...], num_results: int) -> None:
    """See ListRule: every member has a quota, and they fill the list."""
    _check_known("quotas", self.quotas, members)
    for name in members:
      if name not in self.quotas:
        raise ValueError(
          f"quotas has none of the member {name!r}: give it a number of items,"
          " or 0."
        )
      if not _is_whole(self.quotas[name], least=0):
        raise ValueError(
          f"quotas[{name!r}]={short(self.quotas[name])} must be a whole number"
          " of items, 0 or more."
        )
    total = sum(self.quotas.values())
    if total < num_results:
      raise ValueError(
        f"quotas are of {total:,} items together, and num_results={num_results}"
        " are asked for: raise the ones or lower the other."
      )

  def __call__(
    self, lists: Lists, k: int
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """See ListRule and joined_lists.by_quotas."""
    quotas = [int(self.quotas[name]) for name in lists]
    return joined_lists.by_quotas(list(lists.values()), quotas, k)


@dataclasses.dataclass(frozen=True)
class ReciprocalRank:
  """Items by the sum of weight / (k0 + place) over the members' lists.

  Attributes:
    k0: 0 or more; the larger, the less the first places count.
    weights: member -> weight, above 0; 1 where none is given.
  """

  k0: Any = 60.0
  weights: Any = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if not _is_number(self.k0) or not 0 <= self.k0 < math.inf:
      raise ValueError(f"k0={short(self.k0)} must be a number of 0 or more.")

  def check(self, members: tuple[str, ...], num_results: int) -> None:
    """See ListRule: weights are of members, and above 0."""
    del num_results
    _check_known("weights", self.weights, members)
    for name, weight in self.weights.items():
      if not _is_number(weight) or not 0 < weight <= _LARGEST:
        raise ValueError(
          f"weights[{name!r}]={short(weight)} must be a number above 0 and at"
          f" most {_LARGEST:g}; leave a member out that shall not count."
        )

  def __call__(
    self, lists: Lists, k: int
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """See ListRule and joined_lists.by_reciprocal_rank."""
    weights = [float(self.weights.get(name, 1)) for name in lists]
    return joined_lists.by_reciprocal_rank(
      list(lists.values()), weights, float(self.k0), k
    )


@dataclasses.dataclass(frozen=True)
class Ensemble:
  """See the module docstring; the instance itself is the search.

  Attributes:
    members: searches by name, in their order.
    rule: joins their lists.
    num_results: items, 1 or more, that the rule is made for and each member
      is asked for; more where more are asked for.
    num_items: V.
    rest: finds any allowed item, such as the most popular ones.
  """

  members: Mapping[str, Search]
  rule: ListRule
  num_results: Any
  num_items: int
  rest: Search

  def __post_init__(self):
    if not self.members:
      raise ValueError("an ensemble needs at least one member.")
    check_results(self.num_results)
    self.rule.check(tuple(self.members), self.num_results)

  def __call__(
    self,
    requests: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Returns ids (B, k), scores (B, k), and {"lists": {MEMBER: ids (B, N)}}.

    As many items as are allowed, up to k; then id 0 and score -inf.

    Raises:
      ValueError: a mask of other requests, or a member that returns a list of
        another shape, or what is no item.
    """
    if allowed is not None:
      allowed.check(len(requests), self.num_items)
    count = min(max(k, self.num_results), self.num_items)
    lists = {
      name: self._list(name, requests, count, allowed) for name in self.members
    }
    ids_BK, scores_BK = self.rule(lists, k)
    self._fill(requests, allowed, ids_BK, scores_BK)
    return ids_BK, scores_BK, {"lists": lists}

  def _list(
    self, name: str, requests: Requests, count: int, allowed: ItemMask | None
  ) -> Int[np.ndarray, "B N"]:
    """What a member finds."""
    ids_BN = np.asarray(self.members[name](requests, count, allowed)[0])
    expected = (len(requests), count)
    if ids_BN.shape != expected:
      raise ValueError(
        f"the member {name!r} returned ids {ids_BN.shape}; expected (requests,"
        f" places) = {expected}."
      )
    wrong = ids_BN[(ids_BN < 0) | (ids_BN > self.num_items)]
    if wrong.size:
      raise ValueError(
        f"the member {name!r} returned {wrong[0]}, which is no item: they run"
        f" from 1 to {self.num_items:,}."
      )
    return joined_lists.cleaned(ids_BN, allowed)

  def _fill(
    self,
    requests: Requests,
    allowed: ItemMask | None,
    ids_BK: Int[np.ndarray, "B K"],
    scores_BK: Float[np.ndarray, "B K"],
  ) -> None:
    """Writes what `rest` finds behind the items that are there."""
    k = ids_BK.shape[1]
    left_B = np.full(len(requests), self.num_items)
    if allowed is not None:
      left_B = allowed.count()
    found_B = (ids_BK > 0).sum(axis=1)
    rows = np.flatnonzero(found_B < np.minimum(left_B, k))
    if not len(rows):
      return
    there = [ids[ids > 0] for ids in ids_BK[rows]]
    others = ItemMask.all_but(there, self.num_items)
    if allowed is not None:
      others = others & allowed[rows]
    more, _, _ = self.rest(requests_at(requests, rows), k, others)
    for row, ids_K in zip(rows, np.asarray(more), strict=True):
      start = found_B[row]
      new = ids_K[ids_K > 0][: k - start]
      ids_BK[row, start : start + len(new)] = new
      scores_BK[row, start : start + len(new)] = -np.arange(1.0, len(new) + 1)


def check_results(num_results: Any) -> None:
  """Raises a ValueError for what is no number of results."""
  if not _is_whole(num_results, least=1):
    raise ValueError(
      f"num_results={short(num_results)} must be a whole number of at least 1."
    )


def _check_known(what: str, values: Any, members: tuple[str, ...]) -> None:
  """Raises where a rule names what is no member."""
  if not isinstance(values, Mapping):
    raise ValueError(f"{what}={short(values)} must map members to numbers.")
  for name in values:
    if name not in members:
      raise ValueError(
        f"{what} names {name!r}, which is no member."
        + choices_hint(name, members)
      )


def _is_whole(value: Any, least: int) -> bool:
  whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  return whole and value >= least


def _is_number(value: Any) -> bool:
  return isinstance(value, numbers.Real) and not isinstance(value, bool)
