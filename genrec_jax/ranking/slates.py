# SPDX-License-Identifier: Apache-2.0
"""From values of candidates to a list: in what order they are shown.

    greedy        by value
    diverse       by value, at most `limit` of one category, author, ... among
                  the first `within` places
    sequential    item 1, then the best after item 1 was seen, and so on

The last is an autoregressive list: what has been placed is appended to the
history with an assumed action, and the rest is scored again, so a model that
has learned that users tire of a category needs no rule against it. k places
cost k passes over the candidates. Ties go to the candidate that was given
first. A policy is named by text, "diverse:attribute=author_id,limit=2".
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.build import build
from genrec_jax.core.names import public_name
from genrec_jax.core.suggest import choices_hint
from genrec_jax.ranking.actions import Actions, Fields
from genrec_jax.ranking.utility import ValueFunction

_NUMBERS = ("limit", "within", "seconds")
LIKELY = "likely"


@dataclasses.dataclass(frozen=True)
class Choices:
  """What a policy chooses from.

  Attributes:
    probabilities_NT: of the tasks, behind the history as it is.
    value: of probabilities.
    groups: attribute -> a value per candidate; None = not known.
    actions: what may be assumed of a placed item.
    after: (placed candidates, fields of an action each, seconds between them)
      -> probabilities_NT of all candidates behind the history and these.
  """

  probabilities_NT: Float[np.ndarray, "N T"]
  value: ValueFunction
  groups: Callable[[str], Sequence[Hashable | None]]
  actions: Actions
  after: Callable[[Sequence[int], Sequence[Fields], int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class RankedList:
  """K candidates, first place first.

  Attributes:
    order_K: their numbers among the candidates.
    probabilities_KT: those that each was chosen by.
  """

  order_K: Int[np.ndarray, "K"]
  probabilities_KT: Float[np.ndarray, "K T"]


@runtime_checkable
class Policy(Protocol):
  """Chooses the first k places."""

  def __call__(self, choices: Choices, k: int) -> RankedList: ...


def greedy(values_N: Float[np.ndarray, "N"], k: int) -> Int[np.ndarray, "K"]:
  """The k best by value."""
  return np.argsort(-values_N, kind="stable")[:k]


def diverse(
  values_N: Float[np.ndarray, "N"],
  groups: Sequence[Hashable | None],
  limit: int,
  within: int,
  k: int,
) -> Int[np.ndarray, "K"]:
  """At each place the best that the limit allows.

  Args:
    values_N: of the candidates.
    groups: of the candidates; None belongs to no group and has no limit.
    limit: items of a group among the first `within` places. It is raised by
      one whenever nothing else is left to place.
    within: places with a limit; by value alone after these.
    k: places.
  """
  left, placed = list(greedy(values_N, len(values_N))), []
  counts: Counter[Hashable] = Counter()
  while left and len(placed) < min(k, within):
    free = (i for i in left if groups[i] is None or counts[groups[i]] < limit)
    best = next(free, None)
    if best is None:
      limit += 1
      continue
    left.remove(best)
    placed.append(best)
    counts[groups[best]] += 1
  return np.array([*placed, *left][:k], np.int64)


def sequential(
  values_after: Callable[[Sequence[int]], Float[np.ndarray, "N"]],
  count: int,
  k: int,
) -> Int[np.ndarray, "K"]:
  """At each place the best by the values that hold after those before it.

  Args:
    values_after: placed candidates, in order -> values of all.
    count: N.
    k: places.
  """
  placed: list[int] = []
  left_N = np.ones(count, bool)
  while len(placed) < min(k, count):
    values_N = values_after(tuple(placed))
    placed.append(int(np.argmax(np.where(left_N, values_N, -np.inf))))
    left_N[placed[-1]] = False
  return np.array(placed, np.int64)


@dataclasses.dataclass(frozen=True)
class Greedy:
  """By value."""

  def __call__(self, choices: Choices, k: int) -> RankedList:
    """The k best."""
    order_K = greedy(choices.value(choices.probabilities_NT), k)
    return RankedList(order_K, choices.probabilities_NT[order_K])


@dataclasses.dataclass(frozen=True)
class Diverse:
  """See `diverse`.

  Attributes:
    attribute: column of the catalogue; items without a value have no limit.
    limit: items of one value.
    within: among this many first places.
  """

  attribute: str
  limit: int = 1
  within: int = 10

  def __post_init__(self):
    _at_least(1, limit=self.limit, within=self.within)

  def __call__(self, choices: Choices, k: int) -> RankedList:
    """The first k places."""
    values_N = choices.value(choices.probabilities_NT)
    groups = choices.groups(self.attribute)
    order_K = diverse(values_N, groups, self.limit, self.within, k)
    return RankedList(order_K, choices.probabilities_NT[order_K])


@dataclasses.dataclass(frozen=True)
class Sequential:
  """See `sequential`; probabilities are those when an item was placed.

  Attributes:
    assume: what comes of a placed item: its most likely action, or one of the
      data set by name.
    seconds: between one item and the next.
  """

  assume: str = LIKELY
  seconds: int = 1

  def __post_init__(self):
    _at_least(0, seconds=self.seconds)

  def __call__(self, choices: Choices, k: int) -> RankedList:
    """The first k places, in k passes."""
    found = [choices.probabilities_NT]
    assumed: list[Fields] = []

    def values_after(placed):
      if placed:
        assumed.append(self._fields(choices.actions, found[-1][placed[-1]]))
        found.append(choices.after(placed, assumed, self.seconds))
      return choices.value(found[-1])

    order_K = sequential(values_after, len(choices.probabilities_NT), k)
    rows = [p[i] for p, i in zip(found, order_K, strict=True)]
    return RankedList(order_K, np.stack(rows))

  def _fields(self, actions: Actions, probabilities_T) -> Fields:
    if self.assume == LIKELY:
      return actions.likely(probabilities_T)
    return actions.named(self.assume)


POLICIES = {"greedy": Greedy, "diverse": Diverse, "sequential": Sequential}


def policy_of(text: str) -> Policy:
  """Reads "sequential" or "diverse:attribute=category,limit=2".

  Raises:
    ValueError: an unknown name or option, one that is missing, or a bad value.
  """
  name, _, rest = text.partition(":")
  if name not in POLICIES:
    raise ValueError(
      f"policy={text!r} is unknown.{choices_hint(name, POLICIES)}"
    )
  cls = POLICIES[name]
  node: dict[str, str | int] = {"name": public_name(cls)}
  for part in filter(None, rest.split(",")):
    key, _, value = (x.strip() for x in part.partition("="))
    if key in node or not value:
      raise ValueError(
        f"policy={text!r}: {part!r} must be OPTION=VALUE, each option once."
      )
    node[key] = value
    if key in _NUMBERS:
      if not value.removeprefix("-").isdecimal():
        raise ValueError(f"policy={text!r}: {key}={value} must be a number.")
      node[key] = int(value)
  for field in dataclasses.fields(cls):
    if field.default is dataclasses.MISSING and field.name not in node:
      options = ",".join(filter(None, (f"{field.name}=...", rest)))
      raise ValueError(
        f"policy={text!r} needs {field.name}: write {name}:{options}."
      )
  return build(node, where=f"policy {text!r}")


def _at_least(low: int, **values: int) -> None:
  for name, value in values.items():
    if value < low:
      raise ValueError(f"{name}={value} must be at least {low}.")
