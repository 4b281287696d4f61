# SPDX-License-Identifier: Apache-2.0
"""Asks other retrievers at every request, and keeps their lists (an artifact).

    config.lists = {"directory": "", "count": 50, "retrievers": {
      "item_knn": {"name": "experiment.ItemKnnLists"},
      "recently_popular": {"name": "experiment.PopularLists"}}}

    make_lists(histories, {"sasrec": RunLists("runs/sasrec")}, count=50,
               directory="runs/new/lists", hindsight=True)

A run whose config names retrievers makes its lists when it starts. Requests are
the events of the training part behind each user's first, and the targets of
validation and test; each retriever is asked with the history before the event
and its time. A list must be made of events that are no later than the event
that it is asked for. A list for a held-out event may know the whole training
part, as the model does. `hindsight` lets retrievers in that know the training
part beforehand: their lists may give negatives, where the right item is left
out anyway, and the artifact says of which they are.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import functools
import os
import time
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core import artifact, seams
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests, make_requests
from genrec_jax.data.dataset.retriever_lists import Arrays, RetrieverLists
from genrec_jax.data.schema import Manifest, Record
from genrec_jax.data.splits import PARTS
from genrec_jax.experiment.asked_moments import AskedMoments, train_until

TRAIN = "train"


class Returned(NamedTuple):
  """What a retriever returned.

  Attributes:
    ids: item indices, best first; 0 where there are fewer.
    until: time of the latest event that each list is made of, seconds since
      the data set's epoch; data/dataset/retriever_lists.py has NOTHING and
      UNKNOWN.
    lacks: requests of which the retriever knows nothing; None = it was asked.
  """

  ids: Int[np.ndarray, "B K"]
  until: Int[np.ndarray, "B"]
  lacks: Bool[np.ndarray, "B"] | None = None


@dataclasses.dataclass(frozen=True)
class Retriever:
  """A retriever that can be asked, and what names it.

  Attributes:
    ask: (requests, k) -> what it returned.
    facts: JSON values; one with a "fingerprint" must be of the data set.
  """

  ask: Callable[[Requests, int], Returned]
  facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@runtime_checkable
class ListSource(Protocol):
  """Options of a retriever: config.lists.retrievers.NAME, a dataclass."""

  def open(self, histories: Histories) -> Retriever:
    """The retriever on a data set; ValueError where it cannot be."""


@dataclasses.dataclass(frozen=True)
class ListOptions:
  """config.lists, but for the folder.

  Attributes:
    retrievers: by name.
    count: n, items of a list.
    parts: that are asked for: "train", "validation", "test".
    exclude_seen: leave out what the user had taken before.
    hindsight: see the module docstring.
    moments: of events of one time, such as a basket's, ask before the first
      alone.
  """

  retrievers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  count: int = 50
  parts: tuple[str, ...] = (TRAIN, *PARTS)
  exclude_seen: bool = False
  hindsight: bool = False
  moments: bool = False

  def __post_init__(self):
    for part in self.parts:
      if part not in (TRAIN, *PARTS):
        raise ValueError(
          f"config.lists.parts names {part!r}; choices: {TRAIN},"
          f" {', '.join(PARTS)}."
        )
    for name, source in self.retrievers.items():
      seams.require(source, ListSource, f"config.lists.retrievers.{name}")

  @property
  def asked(self) -> dict[str, Any]:
    """What an artifact must say that was made so."""
    values = dataclasses.asdict(dataclasses.replace(self, retrievers={}))
    # Lists from before there were moments say nothing of them.
    if not self.moments:
      del values["moments"]
    nodes = {n: artifact.describe(s) for n, s in self.retrievers.items()}
    return {**values, "parts": list(self.parts), "retrievers": nodes}


def make_lists(
  histories: Histories,
  retrievers: Mapping[str, ListSource],
  *,
  directory: str | os.PathLike,
  batch_size: int = 64,
  **options: Any,
) -> RetrieverLists:
  """Writes the lists of all requests.

  Costs one answer per retriever and request, and 4 R n bytes a request on disk
  and in the memory of the process that trains.

  Args:
    histories: the prepared data set.
    retrievers: by name.
    directory: of the artifact, not there yet.
    batch_size: requests at a time, at most what the retrievers take.
    **options: of ListOptions.

  Raises:
    ValueError: no retriever, one of another data set, more items than there
      are; requests that a retriever lacks; lists made of later events.
  """
  asked = ListOptions(retrievers, **options)
  manifest = histories.manifest
  opened = {name: s.open(histories) for name, s in retrievers.items()}
  _check(opened, manifest, asked.count)
  blocks, first, events, moments = [], [0], [], []
  for requests, is_train in _requests(
    histories, asked.parts, batch_size, first, asked.moments
  ):
    answers = [
      _answer(r, requests, asked, manifest.num_items) for r in opened.values()
    ]
    blocks.append([np.stack(x, axis=1) for x in zip(*answers, strict=True)])
    events.append(requests.event)
    moments.append((requests.user, requests.query_time, is_train))
  if not blocks:
    raise ValueError(
      f"no user has an event to find in {', '.join(asked.parts)}."
    )
  lists_ERn, until_ER, lacks_ER = (
    np.concatenate([block[kind] for block in blocks]) for kind in range(3)
  )
  events_E = np.concatenate(events)
  user_E, time_E, train_E = (
    np.concatenate(x) for x in zip(*moments, strict=True)
  )
  known = functools.cache(functools.partial(train_until, histories))
  asked_at = AskedMoments(histories, events_E, user_E, time_E, train_E, known)
  for r, name in enumerate(opened):
    asked_at.check_complete(name, lacks_ER[:, r])
  late = {
    name: asked_at.hindsight(name, until_ER[:, r], allowed=asked.hindsight)
    for r, name in enumerate(opened)
  }
  facts = {
    "fingerprint": manifest.fingerprint,
    "made": int(time.time()),
    "asked": asked.asked,
    "facts": {name: dict(r.facts) for name, r in opened.items()},
    "hindsight": {name: said for name, said in late.items() if said},
  }
  arrays = Arrays(lists_ERn, until_ER, events_E, np.array(first))
  return RetrieverLists.make(arrays, tuple(opened), facts, directory)


def _check(
  opened: Mapping[str, Retriever], manifest: Manifest, count: int
) -> None:
  if not opened:
    raise ValueError("there is no retriever to ask: name at least one.")
  if not 0 < count <= manifest.num_items:
    raise ValueError(
      f"count={count} must be at least 1 and at most the"
      f" {manifest.num_items:,} items of the catalogue."
    )
  for name, retriever in opened.items():
    check_same_data(name, retriever, manifest)


def check_same_data(name: str, retriever: Retriever, manifest: Manifest):
  """Raises a ValueError for a retriever of another data set."""
  theirs = retriever.facts.get("fingerprint", manifest.fingerprint)
  if theirs != manifest.fingerprint:
    raise ValueError(
      f"the retriever {name!r} is of another data set (fingerprints {theirs}"
      f" and {manifest.fingerprint}).\nIts numbers are other items, and it"
      " may have seen what is held out here: give its lists as a table of"
      " ids (experiment.TableLists)."
    )


def _answer(
  retriever: Retriever, requests: Requests, asked: ListOptions, num_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lists of `count`, what they were made of, and which are lacking."""
  count, out = asked.count, [np.zeros(0, np.int32)] * len(requests)
  fetch = count
  if asked.exclude_seen:
    out = [record["item"] for record in requests.history]
    # So many more as the history may take away.
    fetch += max(len(items) for items in out)
  found = retriever.ask(requests, min(fetch, num_items))
  lists = [
    _first_of(ids, seen, count)
    for ids, seen in zip(np.asarray(found.ids), out, strict=True)
  ]
  lacks = found.lacks
  if lacks is None:
    lacks = np.zeros(len(requests), bool)
  return np.array(lists), np.asarray(found.until, np.int32), lacks


def _requests(
  histories: Histories,
  parts: tuple[str, ...],
  batch_size: int,
  first: list[int],
  moments: bool,
) -> Iterator[tuple[Requests, Bool[np.ndarray, "B"]]]:
  """Requests of all users, and which of them train.

  Args:
    histories: of all users, in their order.
    parts: that are asked for.
    batch_size: requests at a time.
    first: is given every user's end among all requests.
    moments: of events of one time ask before the first alone.

  Raises:
    ValueError: moments of data without times.
  """
  split = histories.split
  rows, ends, train = [], [], []
  for user in range(len(histories)):
    record = histories[user]
    end = split.train_end(record)
    events = [*range(1, end)] if TRAIN in parts else []
    for part in PARTS:
      if part in parts:
        events += split.targets(record, part).tolist()
    if moments:
      events = _firsts(record, events, end, split)
    first.append(first[-1] + len(events))
    for event in events:
      rows.append((record, event))
      train.append(event < end)
      ends.append(event if train[-1] else split.known(record, event))
      if len(rows) == batch_size:
        yield make_requests(rows, ends), np.array(train)
        rows, ends, train = [], [], []
  if rows:
    yield make_requests(rows, ends), np.array(train)


def _firsts(
  record: Record, events: list[int], end: int, split: Any
) -> list[int]:
  """Those events that no other of their time comes before, and held-out ones
  that a split asks for in place of all others of their time."""
  if "time" not in record:
    raise ValueError(
      "config.lists.moments=True reads times, and the data set has none: map a"
      " timestamp column, or set it to False."
    )
  new = np.diff(record["time"], prepend=np.int64(-(2**40))) > 0
  return [
    event
    for event in events
    if new[event] or (event >= end and split.known(record, event) < event)
  ]


def _first_of(
  ids: Int[np.ndarray, "n"], out: Int[np.ndarray, "m"], count: int
) -> Int[np.ndarray, "count"]:
  """The first `count` different ids that are not out; 0 behind them."""
  _, places = np.unique(ids, return_index=True)
  ids = ids[np.sort(places)]
  ids = ids[(ids > 0) & ~np.isin(ids, out)][:count]
  return np.pad(ids, (0, count - len(ids))).astype(np.int32)
