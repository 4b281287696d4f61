# SPDX-License-Identifier: Apache-2.0
"""What a request looks for, as an item whose content is the query.

    RequestQuery()      the event of the request with the action "query"
                        (data/dataset/impressions.py)
    LastTaken(action)   in a log without queries: the last item of the history
                        on which the user did that, such as the last liked

Items are where texts are, so a query is a row of the catalogue: its text is
split, stored and encoded like any other. 0 = there is no query.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Int
import numpy as np

from genrec_jax.data.action_text import QUERY
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.impressions import query_actions, request_queries
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.schema import Record


@runtime_checkable
class QuerySource(Protocol):
  """Where the query of a request comes from."""

  def bind(self, actions: Sequence[str]) -> "QuerySource":
    """The same for a data set with these actions (manifest.actions)."""

  def of_moments(self, moments: Moments) -> Int[np.ndarray, "n"]:
    """Queries of moments within a record."""

  def asked(
    self, history: list[Record], query_B: Int[np.ndarray, "B"]
  ) -> Int[np.ndarray, "B"]:
    """Queries of requests after whole records, whose own are query_B."""


@dataclasses.dataclass(frozen=True)
class RequestQuery:
  """The request's own query.

  Attributes:
    asks: of query_actions; set by `bind`.
  """

  asks: tuple[bool, ...] = ()

  def bind(self, actions: Sequence[str]) -> "RequestQuery":
    """Raises a ValueError where no event is a query."""
    asks = query_actions(actions)
    if not any(asks):
      raise ValueError(
        f"layouts.RequestQuery reads events with the action {QUERY!r}, and the"
        f" data set has only {', '.join(filter(None, actions)) or 'none'}: take"
        " layouts.LastTaken for a log without queries."
      )
    return dataclasses.replace(self, asks=asks)

  def of_moments(self, moments: Moments) -> Int[np.ndarray, "n"]:
    """See QuerySource."""
    return request_queries(moments.record, self.asks)[moments.ends]

  def asked(
    self, history: list[Record], query_B: Int[np.ndarray, "B"]
  ) -> Int[np.ndarray, "B"]:
    """See QuerySource."""
    del history
    return query_B


@dataclasses.dataclass(frozen=True)
class LastTaken:
  """The last item that something was done with.

  Attributes:
    action: what was done.
    bound: set by `bind`.
  """

  action: str
  bound: BoundFeedback | None = None

  def bind(self, actions: Sequence[str]) -> "LastTaken":
    """Raises a ValueError for an action that the data set does not have."""
    bound = Feedback((self.action,)).bind(actions)
    return dataclasses.replace(self, bound=bound)

  def of_moments(self, moments: Moments) -> Int[np.ndarray, "n"]:
    """See QuerySource."""
    return self._before(moments.record)[moments.ends]

  def asked(
    self, history: list[Record], query_B: Int[np.ndarray, "B"]
  ) -> Int[np.ndarray, "B"]:
    """See QuerySource."""
    del query_B
    found = [self._before(record)[-1] for record in history]
    return np.array(found, np.int32).reshape(-1)

  def _before(self, record: Record) -> Int[np.ndarray, "L1"]:
    """The last such item before each event, and behind all of them."""
    count = len(record["item"])
    if not count:
      return np.zeros(1, np.int32)
    done_L = self.bound.done(record) > 0
    place_L = np.where(done_L, np.arange(1, count + 1), 0)
    last_L1 = np.r_[0, np.maximum.accumulate(place_L)]
    return np.r_[0, record["item"]][last_L1].astype(np.int32)
