# SPDX-License-Identifier: Apache-2.0
"""Events as values of a grammar's types: what a sequence of tokens tells.

Rows are events, oldest first: items, and events without one (`other`). Columns
are values within their type (data/token_grammar.py), 0 where a row has none.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.data.token_grammar import TokenGrammar

UNKNOWN_ACTION = -1


@dataclasses.dataclass(frozen=True, eq=False)
class TokenEvents:
  """N events; see the module docstring.

  Attributes:
    codes_NM: of the item.
    extra_NE: what is told of the item.
    action_N: bit mask of what was done; -1 = not known.
    starts_N: whether a request begins with the event, and its context.
    context_NC: of the request, where it begins.
    other_N: kind of an event without an item, from 1 on; 0 = of an item.
  """

  codes_NM: Int[np.ndarray, "N M"]
  extra_NE: Int[np.ndarray, "N E"]
  action_N: Int[np.ndarray, "N"]
  starts_N: Bool[np.ndarray, "N"]
  context_NC: Int[np.ndarray, "N C"]
  other_N: Int[np.ndarray, "N"]

  @classmethod
  def empty(cls, grammar: TokenGrammar, count: int) -> "TokenEvents":
    """Events of zeros, to be filled."""

    def zeros(*shape):
      return np.zeros((count, *shape), np.int32)

    return cls(
      codes_NM=zeros(len(grammar.level_sizes)),
      extra_NE=zeros(len(grammar.extras)),
      action_N=zeros(),
      starts_N=zeros() > 0,
      context_NC=zeros(len(grammar.context)),
      other_N=zeros(),
    )

  def __len__(self) -> int:
    return len(self.other_N)

  def check(self, grammar: TokenGrammar) -> None:
    """Raises a ValueError where the grammar has no place for an event."""
    limits = {
      "codes_NM": (self.codes_NM, grammar.level_sizes),
      "extra_NE": (self.extra_NE, _sizes(grammar.extras)),
      "context_NC": (self.context_NC, _sizes(grammar.context)),
    }
    for name, (values, sizes) in limits.items():
      if values.shape[1] != len(sizes):
        raise ValueError(
          f"{name} has {values.shape[1]} columns; the grammar has {len(sizes)}."
        )
      wrong = (values < 0) | (values >= np.array(sizes, int)[None, :])
      if wrong.any():
        event, column = np.argwhere(wrong)[0]
        raise ValueError(
          f"event {event} has the value {values[event, column]} in column"
          f" {column} of {name}, which has values 0 to {sizes[column] - 1}."
        )
    masks, kinds = 2 ** len(grammar.actions), len(grammar.other)
    for name, values, low, high in (
      ("action_N", self.action_N, UNKNOWN_ACTION, masks - 1),
      ("other_N", self.other_N, 0, kinds),
    ):
      wrong = np.flatnonzero((values < low) | (values > high))
      if len(wrong):
        raise ValueError(
          f"event {wrong[0]} has the value {values[wrong[0]]} in {name}, which"
          f" has values {low} to {high}."
        )
    self._check_order(grammar)

  def _check_order(self, grammar: TokenGrammar) -> None:
    items = np.flatnonzero(self.other_N == 0)
    if self.starts_N[self.other_N > 0].any():
      raise ValueError("a request begins with an event that has no item.")
    if not grammar.context and self.starts_N.any():
      raise ValueError("requests begin, and the grammar has no context.")
    if grammar.context and len(items) and not self.starts_N[items[0]]:
      raise ValueError(
        f"event {items[0]} is the first item, and no request begins with it;"
        " the grammar has context."
      )


def first_kept(
  sizes_N: Int[np.ndarray, "N"],
  switches_N: Bool[np.ndarray, "N"],
  context: int,
  limit: int,
) -> int:
  """The first of the most recent events that fit; N where none does.

  Args:
    sizes_N: tokens of each event without context.
    switches_N: whether an event's request is not that of the event before it;
      the first that is kept has a context in any case.
    context: tokens of a context.
    limit: tokens that there is room for.
  """
  behind = sizes_N + context * switches_N
  after = np.cumsum(behind[::-1])[::-1]
  cost_N = after - context * switches_N + context
  return int(np.count_nonzero(cost_N > limit))


def _sizes(named: Sequence[tuple[str, int]]) -> tuple[int, ...]:
  return tuple(size for _, size in named)
