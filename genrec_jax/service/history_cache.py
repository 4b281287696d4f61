# SPDX-License-Identifier: Apache-2.0
"""Where a cache of what models have computed of histories goes.

A service tells it what changes, from several threads, and its models are to
ask it before they compute. `NoCache` keeps nothing: all is computed anew, which
is right by itself, and what a cache must equal to 1e-5.

    append a late event    changed(user, first)    what lies behind is void
    delete a user          forget(user)
    unload a model         retire(model)
    a batch of asks        reused(model, asks)     in Served, before the search
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from genrec_jax.service.asks import ListAsk, RankAsk, Reused


@runtime_checkable
class HistoryCache(Protocol):
  """Keeps what models have computed of histories, by user and model."""

  def changed(self, user: str, microseconds: int) -> None:
    """A user has a new event at this time: nothing from there on holds."""

  def forget(self, user: str) -> None:
    """A user was deleted."""

  def retire(self, model: str) -> None:
    """A model answers no more, but for what it has been asked by now; another
    one may take its name."""

  def reused(
    self, model: str, asks: Sequence[ListAsk | RankAsk]
  ) -> list[Reused]:
    """What is there of each ask's history, and what has to be computed."""


class NoCache:
  """See the module docstring."""

  def changed(self, user: str, microseconds: int) -> None:
    """Nothing is kept."""

  def forget(self, user: str) -> None:
    """Nothing is kept."""

  def retire(self, model: str) -> None:
    """Nothing is kept."""

  def reused(
    self, model: str, asks: Sequence[ListAsk | RankAsk]
  ) -> list[Reused]:
    """Everything is new."""
    return [Reused(0, len(ask.record["item"])) for ask in asks]
