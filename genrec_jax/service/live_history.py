# SPDX-License-Identifier: Apache-2.0
"""A user's history now: what the model was trained on, and what came since.

    record = events of the data set, and those of the store between them

by time; at one time those of the data set come first, then those of the store
by their ids, so that the order in which events arrived does not matter. An
event of the store that the data set has as well (item, second and action) is
one event: data that are prepared anew from the same log hold it. What the data
set cannot say stays unsaid: an action that it has not is action 0, an item that
the model does not know is left out and counted. Nor does the store say in which
scene an event was.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from genrec_jax.data.action_text import places, words
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.schema import Manifest, Record
from genrec_jax.service.store import Event, EventStore

_SECOND = 10**6
_INT32 = np.iinfo(np.int32)


@dataclasses.dataclass(frozen=True)
class Known:
  """What is known of a user.

  Attributes:
    record: the history; its user is -1 for one whom the model does not know.
    unknown_items: events of the store whose item the model does not know.
    is_known: there is such a user, in the data or in the store.
  """

  record: Record
  unknown_items: int
  is_known: bool


class LiveHistories:
  """See the module docstring; of one data set and one store."""

  def __init__(
    self,
    histories: Histories,
    catalog: Catalog,
    users: Users,
    store: EventStore,
    most_events: int = 5000,
  ):
    """Args: most_events: that a record has, the latest ones."""
    self._histories, self._catalog = histories, catalog
    self._store, self._most = store, most_events
    self._user = {name: i for i, name in enumerate(users.ids)}
    self._action = places(histories.manifest.actions)

  def of(self, user: str) -> Known:
    """What is known of a user of this id."""
    told = self._store.history(user)
    place = -1 if told.forgotten else self.place(user)
    base = None if place < 0 else self._histories[place]
    record, unknown = merged(
      base,
      told.events,
      self._histories.manifest,
      self._catalog,
      self._action,
      self._most,
    )
    return Known(record, unknown, place >= 0 or len(told.events) > 0)

  def place(self, user: str) -> int:
    """Index of a user of the data set; -1 for none of it."""
    return self._user.get(user, -1)


def merged(
  base: Record | None,
  events: Sequence[Event],
  manifest: Manifest,
  catalog: Catalog,
  action_places: Mapping[frozenset[str], int],
  most_events: int,
) -> tuple[Record, int]:
  """One record of both, and how many events were of unknown items.

  Args:
    base: of the data set; None = there is none.
    events: of the store, oldest first.
    manifest: of the data set.
    catalog: its items.
    action_places: words of an action -> its index.
    most_events: of the record.
  """
  if base is None:
    base = record_of_items(manifest, [])
  new = {name: [] for name in manifest.fields}
  have = _said(base)
  first = int(base["request"].max(initial=-1)) + 1 if "request" in base else 0
  unknown = 0
  for event in events:
    item = catalog.known([event.item])
    second = event.microseconds // _SECOND - (manifest.epoch_seconds or 0)
    if not len(item):
      unknown += 1
      continue
    if "time" in base and not _INT32.min <= second <= _INT32.max:
      continue
    action = action_places.get(words(event.action), 0)
    fields = {"item": int(item[0]), "time": second, "action": action}
    if tuple(v for k, v in fields.items() if k in base) in have:
      continue
    fields["value"] = np.nan if event.value is None else event.value
    fields["request"] = first + len(new["item"])
    # Nobody says where an item was shown.
    fields["scene"] = 0
    for name, values in new.items():
      values.append(fields[name])
  if new["item"]:
    base = _joined(base, new)
  return latest(base, most_events), unknown


def _said(base: Record) -> set[tuple[int, ...]]:
  """What the data set's events say, where they say when."""
  if "time" not in base:
    return set()
  names = [name for name in ("item", "time", "action") if name in base]
  return set(zip(*(base[name].tolist() for name in names), strict=True))


def _joined(base: Record, new: Mapping[str, list]) -> Record:
  """By time, those of `base` first among equals."""
  both = {
    name: np.concatenate([base[name], np.array(values, base[name].dtype)])
    for name, values in new.items()
  }
  if "time" in both:
    order = np.argsort(both["time"], kind="stable")
    both = {name: array[order] for name, array in both.items()}
  if "request" in both:
    # One that now lies between two others is a request of its own.
    begins = np.diff(both["request"], prepend=both["request"][:1]) != 0
    both["request"] = np.cumsum(begins, dtype=np.int32)
  return {"user": base["user"], **both}


def latest(record: Record, count: int) -> Record:
  """The record cut to its last `count` events."""
  start = max(0, len(record["item"]) - count)
  return {
    name: array if name == "user" else array[start:]
    for name, array in record.items()
  }
