# SPDX-License-Identifier: Apache-2.0
"""When a list that was made ahead (ready_lists.py) answers, and what it says.

    ahead = MadeAhead(lists, store, ReadyOptions(), metrics)
    told = ahead.answer(version, body, items, False)
                                                   None: a model is to answer

A list answers the plain question, what is best for a user now: not one behind a
history that is sent, behind a changed one, at another time, by a policy, with
seen items among the others, or of a version by its name. Nor does it answer
where it is too old, where the user has an event of later than those that it
knows or was deleted, where versions share the users and it is not of the user's
one, or where masks leave fewer items than are asked for: then the model does.
It takes no room in the model's queue, so it also answers where that is
full. An answer says which lists it is from, and how old they are.
"""

import dataclasses
import time
from typing import Any

import numpy as np

from genrec_jax.service import answers, ladder
from genrec_jax.service.asker import Asked
from genrec_jax.service.asks import Listed, Reused
from genrec_jax.service.engine import Done
from genrec_jax.service.live_items import LiveItems
from genrec_jax.service.metrics import Metrics
from genrec_jax.service.ready_lists import ReadyList, ReadyLists
from genrec_jax.service.store import EventStore
from genrec_jax.service.versions import Version

# What becomes of plain questions.
USED, NONE, OLD, NEWER, SHORT = "used", "none", "old", "newer", "short"
OTHER = "other"
# Why nothing of a history was reused: none was read.
READY = "ready"


@dataclasses.dataclass(frozen=True)
class ReadyOptions:
  """When a list will do.

  Attributes:
    most_seconds: that it may be old; 0 = any age.
  """

  most_seconds: float | int = 86_400.0

  def __post_init__(self):
    if self.most_seconds < 0:
      raise ValueError(f"most_seconds={self.most_seconds} must be 0 or more.")


class MadeAhead:
  """See the module docstring; called from several threads."""

  def __init__(
    self,
    lists: ReadyLists,
    store: EventStore,
    options: ReadyOptions,
    metrics: Metrics,
  ):
    self._lists, self._store = lists, store
    self._options, self._metrics = options, metrics

  def answer(
    self, version: Version, body: Any, items: LiveItems, shared: bool
  ) -> dict[str, Any] | None:
    """The answer by a list; None where none will do.

    Args:
      version: who would answer else, and knows the items.
      body: a wire.Recommend that is plain.
      items: the catalogue now.
      shared: whether other versions answer some of the users.

    Raises:
      ValueError: what is wrong of the body.
    """
    ready, told = self._lists.of(body.user_id), None
    if ready is None:
      outcome = NONE
    elif shared and not _is_of(ready, version):
      outcome = OTHER
    else:
      outcome = self._why_not(ready, body.user_id)
    if not outcome:
      outcome = SHORT
      asked = version.asker.listing(body, items)
      listed = (
        None if asked.ask is None else _listed(ready, version, asked, body)
      )
      if listed is not None:
        outcome = USED
        done = Done(listed, ladder.FULL, None, 0.0, 0.0)
        told = answers.of_list(version, body, asked, items, done)
        told["ready"] = _about(ready)
    self._metrics.ready(outcome)
    return told

  def _why_not(self, ready: ReadyList, user: str) -> str:
    """Why a list will not do for a user now; "" where it will."""
    most = self._options.most_seconds
    if most and time.time() - ready.made > most:
      return OLD
    told = self._store.history(user)
    last = told.events[-1].microseconds if told.events else -np.inf
    return NEWER if told.forgotten or last > ready.known * 1e6 else ""


def is_plain(body: Any) -> bool:
  """Whether a wire.Recommend asks what a list answers."""
  return (
    body.user_id is not None
    and body.history is None
    and not body.what_if
    and body.context.time is None
    and body.policy == "greedy"
    and body.model is None
    # A list has none of what its user has seen.
    and body.filter_history is not False
  )


def _is_of(ready: ReadyList, version: Version) -> bool:
  return bool(ready.model) and ready.model == version.identity


def _listed(
  ready: ReadyList, version: Version, asked: Asked, body: Any
) -> Listed | None:
  """What of a list may be told; None where that is too little."""
  index_N = np.array(version.asker.indices(ready.items), np.int32)
  good_N = asked.ask.allowed.at(index_N[None])[0]
  good_N &= np.isfinite(np.array(ready.scores, np.float64))
  if good_N.sum() < body.k:
    return None
  return Listed(
    index_N[good_N][: body.k],
    np.array(ready.scores, np.float32)[good_N][: body.k],
    reused=Reused(0, 0, READY),
  )


def _about(ready: ReadyList) -> dict[str, Any]:
  return {
    "version": ready.version,
    "made": round(ready.made, 3),
    "age_seconds": round(max(0.0, time.time() - ready.made), 3),
  }
