# SPDX-License-Identifier: Apache-2.0
"""The seam of a cache of what models have computed of histories.

A service tells it what changes, from several threads, and gives it every
version that it loads: how that reads histories (a Reading). It gives back how
it is to read them from then on, with searches and a ranker of its own in place
of those.

    load a version         open(model, reading) -> reading
    add an event           changed(user, microseconds)    all later is void
    delete a user          forget(user)
    unload a version       retire(model)
    /metrics               figures()

Whatever it has, answers equal those without it to 1e-5. Requests say whose
history each is (Requests.key; None = nobody's, of which nothing is kept).
Searches say beside their lists what was reused, `reused`: one Reused per
request. `NoCache` keeps nothing; paged_cache.py has one that does.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Protocol, runtime_checkable

from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.service.asks import Reused
from genrec_jax.service.resumption import Resumption
from genrec_jax.serving.ranker import Ranker

# Why nothing was reused: there is no cache, no model was asked, the model
# cannot go on with a history, or nobody's is kept: of no user, of a what-if, or
# shortened under load.
NO_CACHE, NO_MODEL, MODEL, NOBODY = "no_cache", "no_model", "model", "nobody"
# Nothing of the user is there, nothing of it is true any more, or so much is
# new that all is.
ABSENT, CHANGED, MANY_NEW = "absent", "changed", "many_new"


def _nothing(requests: Requests) -> None:
  del requests


@dataclasses.dataclass(frozen=True)
class Reading:
  """How a version reads histories.

  Attributes:
    searches: by the size of a batch; none of a ranker alone.
    ranker: who ranks given items; None = the searches do.
    lists: how the searches' model goes on with a history; None = it cannot.
    scores: likewise of the ranker's.
    warm: compiles what a cache has added, given a request of two events.
    scored: what was reused for the ranker's last scores; None = it keeps none.
    why: why nothing is reused where a search does not say.
  """

  searches: Mapping[int, Search]
  ranker: Ranker | None = None
  lists: Resumption | None = None
  scores: Resumption | None = None
  warm: Callable[[Requests], None] = _nothing
  scored: Callable[[], Reused] | None = None
  why: str = NO_CACHE


@runtime_checkable
class HistoryCache(Protocol):
  """Keeps what models have computed of histories, by user and version.

  Methods are called from several threads.
  """

  def open(self, model: str, reading: Reading) -> Reading:
    """How a version reads histories from now on."""

  def changed(self, user: str, microseconds: int) -> None:
    """A user has a new event at this time: nothing from there on holds."""

  def forget(self, user: str) -> None:
    """A user was deleted."""

  def retire(self, model: str) -> None:
    """A version was never taken, or answers no more but for what it has been
    asked by now; another one may take its name."""

  def figures(self) -> dict[str, float]:
    """For metrics: pages, pages_used, evictions and waits; {} of none."""


class NoCache:
  """See the module docstring."""

  def open(self, model: str, reading: Reading) -> Reading:
    """As it is."""
    return reading

  def changed(self, user: str, microseconds: int) -> None:
    """Nothing is kept."""

  def forget(self, user: str) -> None:
    """Nothing is kept."""

  def retire(self, model: str) -> None:
    """Nothing is kept."""

  def figures(self) -> dict[str, float]:
    """There are none."""
    return {}
