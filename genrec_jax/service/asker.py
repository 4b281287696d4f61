# SPDX-License-Identifier: Apache-2.0
"""From what is sent to what a model is asked, with all that can be wrong of it.

    asked = asker.listing(body, items)        asked.ask goes to the engine

A body has the fields of wire.py's models. Whoever nothing is known of is no
error: the most popular items answer, and the answer says so. Everything else
that a model would stumble over is a ValueError here, before it meets others in
a batch.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import polars as pl

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.ranking.actions import Actions
from genrec_jax.ranking.slates import Diverse, Greedy, Sequential, policy_of
from genrec_jax.ranking.what_if import REMOVED, changed, changes_of
from genrec_jax.service.asks import ListAsk, RankAsk
from genrec_jax.service.live_history import LiveHistories
from genrec_jax.service.live_items import LiveItems
from genrec_jax.service.served import Served
from genrec_jax.service.shapes import at_least
from genrec_jax.service.store import EventStore
from genrec_jax.serving.asking import Asking
from genrec_jax.serving.given_history import GivenHistory
from genrec_jax.serving.item_filter import NothingLeft

UNKNOWN_USER, NO_HISTORY = "unknown_user", "no_history"
# Actions of which nothing is predicted.
_NO_TASKS = Feedback(("",))
# How many more a list that spreads over an attribute chooses from.
_SPREAD = 4


@dataclasses.dataclass(frozen=True)
class Asked:
  """An ask, and what its answer has to say beside.

  Attributes:
    ask: for the engine; None where nothing is left to recommend, or to rank.
    record: the history behind it.
    unknown_items: of the history, which the model does not know.
    cold: why no history stands behind it; None where one does.
    nothing_left: what left nothing; "" where something is.
  """

  ask: ListAsk | RankAsk | None
  record: Record
  unknown_items: int = 0
  cold: str | None = None
  nothing_left: str = ""


@dataclasses.dataclass(frozen=True)
class _Whom:
  record: Record
  query_time: int
  unknown: int
  cold: str | None


class Asker:
  """See the module docstring; of one model and one store."""

  def __init__(
    self, served: Served, store: EventStore, most_events: int = 5000
  ):
    """Args: most_events: of a history that is read."""
    self.served = served
    self._live = LiveHistories(
      served.histories, served.catalog, served.users, store, most_events
    )
    ranker = served.ranker
    values = ranker is not None and ranker.takes_values
    asking = Asking(served.histories, served.catalog, served.users)
    at_the_end = dataclasses.replace(
      asking, values_as_actions=values, at_the_end=True
    )
    # As offline: a recommender alone asks nobody's list where the data begin.
    self._lists = at_the_end if served.two_stage else asking
    self._ranks = asking if ranker is None else at_the_end

  def warm(self) -> None:
    """Reads what the first request would wait for."""
    for asking in (self._lists, self._ranks):
      asking.requests([record_of_items(self.served.histories.manifest, [])])

  def history(self, user: str) -> Record:
    """The history of a user now; empty for an unknown one."""
    return self._live.of(user).record

  def listing(self, body: Any, items: LiveItems) -> Asked:
    """What a list is asked by.

    Args:
      body: a wire.Recommend.
      items: the catalogue now.

    Raises:
      ValueError: what is wrong of it.
    """
    served = self.served
    if not served.finds:
      raise ValueError(
        "this model orders given items and finds none: ask /v1/rank, or serve"
        " it behind a retriever with --ranker."
      )
    policy = self._policy(body.policy, items)
    whom = self._whom(body, self._lists)
    record = whom.record
    if body.what_if:
      record = self._changed(record, body.what_if)
    cold = whom.cold
    if cold is None and not len(record["item"]):
      cold = NO_HISTORY
    about = Asked(None, record, whom.unknown, cold)
    hide = served.filter_history
    if body.filter_history is not None:
      hide = body.filter_history
    try:
      allowed = items.mask(body.allow, body.exclude, body.filter)
    except NothingLeft as error:
      return dataclasses.replace(about, nothing_left=str(error))
    if hide:
      allowed = allowed & ItemMask.all_but(
        [record["item"]], served.catalog.num_items
      )
    if not int(allowed.count()[0]):
      return dataclasses.replace(
        about, nothing_left="items of the history are left out, and no other is"
      )
    most = served.shapes.lists[-1]
    wanted = body.k if policy is None else _SPREAD * body.k
    ask = ListAsk(
      user=None if body.what_if else body.user_id,
      record=record,
      query_time=whom.query_time,
      allowed=allowed,
      places=at_least(served.shapes.lists, min(wanted, most)),
      by_model=len(record["item"]) > 0,
    )
    return dataclasses.replace(about, ask=ask)

  def ranking(self, body: Any, items: LiveItems) -> Asked:
    """What scores are asked by; its candidates are those that are alive.

    Args:
      body: a wire.Rank.
      items: the catalogue now.

    Raises:
      ValueError: what is wrong of it.
    """
    ranker = self.served.ranker
    if ranker is None and body.weights:
      raise ValueError(
        "weights are of a ranker's probabilities, and this model has no ranker."
      )
    value = None if ranker is None else ranker.value_of(body.weights)
    self._policy(body.policy, items)
    most = self.most_candidates
    if len(body.candidates) > most:
      raise ValueError(
        f"{len(body.candidates):,} candidates are more than the {most:,} that"
        " are ranked at a time: send them in parts."
      )
    whom = self._whom(body, self._ranks)
    changed_record = None
    if body.what_if:
      changed_record = self._changed(whom.record, body.what_if)
    known = self.indices(body.candidates)
    alive = sorted({i for i in known if i and items.alive_V1[i]})
    about = Asked(None, whom.record, whom.unknown, whom.cold)
    if not alive:
      return about
    ask = RankAsk(
      user=body.user_id,
      record=whom.record,
      query_time=whom.query_time,
      candidates_N=np.array(alive, np.int32),
      by_model=len(whom.record["item"]) > 0,
      value=value,
      changed=changed_record,
    )
    return dataclasses.replace(about, ask=ask)

  @property
  def most_candidates(self) -> int:
    """Of a request: a search alone ranks no more than its longest list."""
    shapes = self.served.shapes
    if self.served.ranker is not None:
      return shapes.most_candidates
    return min(shapes.most_candidates, shapes.lists[-1])

  def indices(self, item_ids: Sequence[str]) -> list[int]:
    """Item indices; 0 for those that the model does not know."""
    known = self.served.catalog.known
    return [int(known([i]).max(initial=0)) for i in item_ids]

  def policy(self, text: str) -> Diverse | None:
    """The policy of a text; None for the order of scores.

    Raises:
      ValueError: an unknown one, or one that a service does not have.
    """
    found = policy_of(text)
    if isinstance(found, Sequential):
      raise ValueError(
        "policy 'sequential' scores all candidates anew for every place: it is"
        " of genrec rank, and no service's. Use greedy or diverse."
      )
    return None if isinstance(found, Greedy) else found

  def _policy(self, text: str, items: LiveItems) -> Diverse | None:
    """The same, of an attribute that there is."""
    found = self.policy(text)
    if found is not None:
      items.catalog.attribute_texts(found.attribute, np.ones(1, np.int32))
    return found

  def check_event(self, event: Any) -> None:
    """Raises a ValueError for an event that this model could not read."""
    manifest = self.served.histories.manifest
    if event.action and "action" in manifest.fields:
      actions = Actions(manifest.actions, _NO_TASKS)
      actions.named(event.action)
    epoch = manifest.epoch_seconds
    if epoch is not None and not -(2**31) <= event.time - epoch < 2**31:
      raise ValueError(
        f"time={event.time:.0f} must be unix SECONDS within 68 years of the"
        f" data set's first event ({epoch})."
      )

  def _whom(self, body: Any, asking: Asking) -> _Whom:
    """Who asks, and when."""
    if body.history is not None:
      record, unknown = self._given(body, asking)
      cold = None if len(record["item"]) else NO_HISTORY
    elif body.user_id is not None:
      known = self._live.of(body.user_id)
      record, unknown = known.record, known.unknown_items
      cold = None
      if not len(record["item"]):
        cold = NO_HISTORY if known.is_known else UNKNOWN_USER
    else:
      record = record_of_items(self.served.histories.manifest, [])
      unknown, cold = 0, UNKNOWN_USER
    requests = asking.requests([record], body.context.time)
    return _Whom(record, int(requests.query_time[0]), unknown, cold)

  def _given(self, body: Any, asking: Asking) -> tuple[Record, int]:
    """The record of a history that is sent, and its unknown items."""
    events = [
      {"item": x} if isinstance(x, str) else x.model_dump()
      for x in body.history
    ]
    known = [
      event
      for event, place in zip(
        events, self.indices([e["item"] for e in events]), strict=True
      )
      if place
    ]
    names = ("action", "value", "time")
    said = [n for n in names if any(e.get(n) is not None for e in known)]
    table = pl.DataFrame(
      {
        "item_id": [event["item"] for event in known],
        **{n: [event.get(n) for event in known] for n in said},
      },
      strict=False,
    )
    record = asking.record(
      history=GivenHistory.of(table),
      strict=False,
      request_time=body.context.time,
    )
    if body.user_id is not None:
      # What is known of them beside their events counts.
      record["user"] = self._live.of(body.user_id).record["user"]
    return record, len(events) - len(known)

  def _changed(self, record: Record, text: str) -> Record:
    """The history of a what-if."""
    changes = changes_of(text)
    manifest = self.served.histories.manifest
    if self.served.ranker is not None:
      actions = self.served.ranker.actions
    elif all(change.action == REMOVED for change in changes):
      actions = Actions(manifest.actions, _NO_TASKS)
    else:
      raise ValueError(
        f"what_if={text!r}: this model has no ranker, which would say what"
        f" actions are; write EVENT={REMOVED}."
      )
    return changed(record, changes, actions)
