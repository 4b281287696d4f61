# SPDX-License-Identifier: Apache-2.0
"""What other retrievers returned at each request of a data set: an artifact.

    made = RetrieverLists.make(Arrays(...), ("item_knn", "sasrec"), facts, DIR)
    lists = RetrieverLists.load(DIR)
    lists.of(user, events)        int32 (E, R, n), asked just before each event
    lists.names                   R names: lists.of(...)[:, r] is by names[r]

    DIR/  manifest.json  lists.npy  until.npy  events.npy  first.npy

A request is an event that somebody had to find: those of the training part
behind each user's first, and the targets of validation and test. A list has
item indices of the data set whose fingerprint the manifest has, best first, 0
where there are fewer. It knows what was before its moment, so it may hold what
the user took next: a loss leaves that out (objectives/own_events.py). `until`
is the time of the latest event that a list was made of. `version` names the
contents; `age` says how long ago they were made.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import time
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core import artifact
from genrec_jax.core.suggest import choices_hint

_KIND = "retriever_lists"
_FILES = ("lists", "until", "events", "first")
# Times of lists made of no event at all, and of who knows what.
NOTHING = int(np.iinfo(np.int32).min)
UNKNOWN = int(np.iinfo(np.int32).max)


@dataclasses.dataclass(frozen=True)
class Arrays:
  """The arrays of an artifact; rows are requests, in the order of users.

  Attributes:
    lists: item indices.
    until: seconds since the data set's epoch; see the module docstring.
    events: place of each request's event in its user's history, ascending.
    first: row of each user's first request, and behind the last one's last.
  """

  lists: Int[np.ndarray, "rows R n"]
  until: Int[np.ndarray, "rows R"]
  events: Int[np.ndarray, "rows"]
  first: Int[np.ndarray, "U1"]


@dataclasses.dataclass(frozen=True)
class RetrieverLists:
  """Lists by request and retriever.

  Attributes:
    arrays: see Arrays.
    version: names lists, retrievers and data set.
    manifest: the whole manifest.
  """

  arrays: Arrays
  version: str
  manifest: dict[str, Any]

  @classmethod
  def make(
    cls,
    arrays: Arrays,
    names: Sequence[str],
    facts: Mapping[str, Any],
    directory: str | os.PathLike,
  ) -> "RetrieverLists":
    """Writes an artifact.

    Args:
      arrays: see Arrays.
      names: of the R retrievers.
      facts: "fingerprint" of the data set; "made", seconds since 1970;
        "hindsight", name -> why its training lists are made of later events;
        and whatever else says how the lists were made.
      directory: its folder; ValueError where it is there.
    """
    kept = {name: vars(arrays)[name] for name in _FILES}
    kept = {
      name: array.astype(np.int64 if name == "first" else np.int32)
      for name, array in kept.items()
    }
    values = {
      "version": artifact.content_hash(
        facts["fingerprint"], list(names), *kept.values()
      ),
      **facts,
      "names": list(names),
      "shape": [*arrays.lists.shape],
      "num_users": len(arrays.first) - 1,
    }
    files = [f"{name}.npy" for name in _FILES]
    with artifact.new_folder(directory) as folder:
      for name, array in kept.items():
        artifact.save_array(folder / f"{name}.npy", array)
      artifact.save_manifest(folder, _KIND, values, files)
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "RetrieverLists":
    """Reads an artifact.

    Raises:
      ValueError: none there, or damaged.
    """
    directory = pathlib.Path(directory)
    if not directory.exists():
      raise ValueError(
        f"{directory} holds no lists of retrievers.\nName the retrievers in"
        " config.lists.retrievers, make the lists with experiment.make_lists,"
        " or name their folder in config.lists.directory."
      )
    manifest = artifact.load_manifest(directory, _KIND)
    arrays = Arrays(
      *(artifact.load_array(directory / f"{name}.npy") for name in _FILES)
    )
    return cls(arrays, manifest["version"], manifest)

  @property
  def names(self) -> tuple[str, ...]:
    """The retrievers, in their order."""
    return tuple(self.manifest["names"])

  @property
  def length(self) -> int:
    """n, places of a list."""
    return self.arrays.lists.shape[2]

  def check(self, fingerprint: str, directory: str | os.PathLike) -> None:
    """Raises a ValueError where the lists are of another data set.

    Args:
      fingerprint: of the data set that they would be used with.
      directory: where they lie.
    """
    theirs = self.manifest["fingerprint"]
    if theirs != fingerprint:
      raise ValueError(
        f"the lists in {directory} (version {self.version}) are of another"
        f" data set (fingerprints {theirs} and {fingerprint}).\nThe same"
        " numbers are other items and users there: make them again on this one."
      )

  def columns(self, names: Sequence[str], where: str) -> Int[np.ndarray, "C"]:
    """Places of some retrievers among all.

    Args:
      names: of retrievers; () = all.
      where: option that names them, for the error.

    Raises:
      ValueError: one that there is not.
    """
    for name in names:
      if name not in self.names:
        raise ValueError(
          f"{where} names {name!r}, and the lists are by"
          f" {', '.join(self.names)}.{choices_hint(name, self.names)}"
        )
    wanted = names or self.names
    return np.array([self.names.index(name) for name in wanted], np.int64)

  def check_point_in_time(self, names: Sequence[str]) -> None:
    """Raises a ValueError where training lists are made of later events.

    Args:
      names: of the retrievers that are asked about.
    """
    for name in names:
      if name in self.manifest["hindsight"]:
        raise ValueError(
          f"{self.manifest['hindsight'][name]}\nWhat it returned says nothing"
          " of what it would have returned then: it may give negatives, and no"
          " weights of positives."
        )

  def age(self, now: int | float | None = None) -> float:
    """Days since the lists were made; `now` in seconds since 1970."""
    now = time.time() if now is None else now
    return (now - self.manifest["made"]) / 86_400

  def of(
    self, user: int, events: Int[np.ndarray, "E"]
  ) -> Int[np.ndarray, "E R n"]:
    """The lists that were asked for before some events of a user.

    Raises:
      ValueError: lists that are lacking: how many, and the first.
    """
    start, end = int(self.arrays.first[user]), int(self.arrays.first[user + 1])
    known = self.arrays.events[start:end]
    rows = np.searchsorted(known, events)
    there = np.zeros(len(events), bool)
    inside = rows < len(known)
    there[inside] = known[rows[inside]] == np.asarray(events)[inside]
    if not there.all():
      missing = np.asarray(events)[~there]
      raise ValueError(
        f"the lists (version {self.version}) lack {len(missing)} of"
        f" {len(events)} requests of user {user}, the first before event"
        f" {missing[0]}.\nMake them of all parts (experiment.make_lists)."
      )
    return self.arrays.lists[start:end][rows]

  def at(
    self, users: Int[np.ndarray, "B"], events: Int[np.ndarray, "B"]
  ) -> Int[np.ndarray, "B R n"]:
    """The lists of requests of several users; ValueError as `of`."""
    found = [
      self.of(int(user), np.array([event]))
      for user, event in zip(users, events, strict=True)
    ]
    return np.concatenate(found)


def by_turns(
  lists_ERN: Int[np.ndarray, "E R n"], count: int
) -> Int[np.ndarray, "E {count}"]:
  """The first `count` different items, R lists taking turns; 0 behind them.

  The best of every list in the order of the retrievers, then the second ones.
  Empty places take no turn.
  """
  num_requests = len(lists_ERN)
  empty = np.argsort(lists_ERN == 0, axis=2, kind="stable")
  turns_EM = np.take_along_axis(lists_ERN, empty, axis=2)
  turns_EM = turns_EM.transpose(0, 2, 1).reshape(num_requests, -1)
  order = np.argsort(turns_EM, axis=1, kind="stable")
  ranked = np.take_along_axis(turns_EM, order, axis=1)
  new = np.ones(ranked.shape, bool)
  new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
  kept = np.zeros(ranked.shape, bool)
  np.put_along_axis(kept, order, new, axis=1)
  turns_EM = np.where(kept, turns_EM, 0)
  front = np.argsort(turns_EM == 0, axis=1, kind="stable")[:, :count]
  found = np.take_along_axis(turns_EM, front, axis=1)
  return np.pad(found, ((0, 0), (0, count - found.shape[1])))


def places_of(
  lists_ERN: Int[np.ndarray, "E R n"], items_E: Int[np.ndarray, "E"]
) -> Int[np.ndarray, "E R"]:
  """At which place, from 1 on, each list has an item; 0 = it has it not."""
  same = lists_ERN == np.asarray(items_E)[:, None, None]
  same &= lists_ERN > 0
  return np.where(same.any(axis=2), same.argmax(axis=2) + 1, 0).astype(np.int32)
