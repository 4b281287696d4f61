# SPDX-License-Identifier: Apache-2.0
"""From a user's id or a history that is given to what a model is asked.

Whoever nothing is known of has an empty record: the caller decides who answers.
"""

from collections.abc import Sequence
import dataclasses
import functools
import warnings

from jaxtyping import Int
import numpy as np
from tqdm import tqdm

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.schema import Record
from genrec_jax.data.times import int32_seconds
from genrec_jax.serving import arguments
from genrec_jax.serving.given_history import GivenHistory

_INT32 = np.iinfo(np.int32)
# The caller of the caller of `Recommender.recommend`'s parts.
_STACKLEVEL = 5
_SEVERAL = (
  "Ask for each user alone, or for everyone by recommend_all(); several lists"
  " of items are recommend(histories=[...])."
)


@dataclasses.dataclass(frozen=True)
class Asking:
  """What is known of whom is asked for, of one prepared data set.

  Attributes:
    histories: of the data set.
    catalog: its items.
    users: its users.
    values_as_actions: what comes of an event is a number (GivenHistory).
    at_the_end: who has no times is asked for where the data set ends, one
      median gap after its last event, which reads all histories once; else
      where it begins. It matters to a model that reads the time of day.
  """

  histories: Histories
  catalog: Catalog
  users: Users
  values_as_actions: bool = False
  at_the_end: bool = False

  def record(
    self,
    user: object = None,
    history: object = None,
    *,
    strict: bool,
    request_time: int | None = None,
  ) -> Record:
    """The record of a user, or of the history that is given in its place.

    Args:
      user: id; with a history, what is known of the user beside it counts.
      history: ids of items, oldest first, or a table (given_history.py).
      strict: an unknown id or an empty history is an error; else what is
        unknown is left out, with a warning, and the record may be empty.
      request_time: unix seconds at which is asked: a history without times
        ends one median gap before.

    Raises:
      ValueError: neither of user and history, several users, what GivenHistory
        refuses, or what `strict` says.
    """
    if user is None and history is None:
      raise ValueError("give a user, a history, or both")
    place = -1 if user is None else self._place(user, strict, history is None)
    if history is not None:
      record = self._given(history, strict, request_time)
      record["user"] = np.array(place, np.int32)
    elif place < 0:
      record = record_of_items(self.histories.manifest, [])
    else:
      record = self.histories[place]
    if strict and not len(record["item"]):
      whose = "the history" if user is None else f"user {user!r}"
      raise ValueError(f"{whose} has no events to recommend from")
    return record

  def requests(
    self, records: Sequence[Record], request_time: int | None = None
  ) -> Requests:
    """What a model is asked behind these records.

    Args:
      records: whole histories.
      request_time: unix seconds at which is asked; None = the last event's
        time and the data set's median gap.

    Raises:
      ValueError: a time before the last event, beyond int32, or for data
        without times.
    """
    count = len(records)
    query_time_B = np.zeros(count, np.int32)
    if "time" in self.histories.manifest.fields:
      query_time_B = self._query_times(records, request_time)
    elif request_time is not None:
      raise ValueError(
        "this data set has no event times, so its model has no use for a"
        " request time"
      )
    return Requests(
      user=np.array([r["user"] for r in records], np.int32),
      target=np.zeros(count, np.int32),
      history=list(records),
      query_time=query_time_B,
      event=np.array([len(r["item"]) for r in records], np.int32),
    )

  def _place(self, user: object, strict: bool, alone: bool) -> int:
    """A user's index; -1 for one of whom nothing is known."""
    arguments.one_id("user", user, _SEVERAL)
    try:
      return self.users.index_of(user)
    except ValueError as error:
      if strict:
        raise
      left = "and there is no history" if alone else "beside the history given"
      warnings.warn(
        f"{error} Nothing is known of this user, {left}.",
        stacklevel=_STACKLEVEL,
      )
      return -1

  def _given(
    self, history: object, strict: bool, request_time: int | None
  ) -> Record:
    manifest = self.histories.manifest
    given = GivenHistory.of(history).known(self.catalog, strict)
    ends_at = None
    if "time" in manifest.fields and len(given.events):
      gap = manifest.median_gap_seconds or 0
      if request_time is not None:
        ends_at = self._asked(request_time) - gap
      elif self.at_the_end:
        ends_at = self._last_moment
    return given.record(
      manifest,
      self.catalog,
      values_as_actions=self.values_as_actions,
      ends_at=ends_at,
    )

  def _asked(self, request_time: int) -> int:
    """Seconds since the epoch."""
    epoch = self.histories.manifest.epoch_seconds
    asked = request_time - (epoch or 0)
    if not _INT32.min <= asked <= _INT32.max:
      raise ValueError(
        f"request_time={request_time} must be unix SECONDS within 68 years of"
        f" the data set's first event ({epoch})"
      )
    return asked

  def _query_times(
    self, records: Sequence[Record], request_time: int | None
  ) -> Int[np.ndarray, "B"]:
    """Seconds since the epoch at which is asked, int32."""
    gap = self.histories.manifest.median_gap_seconds or 0
    none = [not len(r["item"]) for r in records]
    if request_time is None:
      nobody = self._last_moment + gap if self.at_the_end and any(none) else 0
      last = [
        nobody if empty else int(r["time"][-1]) + gap
        for r, empty in zip(records, none, strict=True)
      ]
      return int32_seconds(np.array(last), "the last event and a gap")
    asked = self._asked(request_time)
    for record, empty in zip(records, none, strict=True):
      if not empty and asked < record["time"][-1]:
        last = int(record["time"][-1])
        raise ValueError(
          f"request_time={request_time} lies {last - asked} s before the"
          f" last event ({last + request_time - asked}) of the history: ask at"
          " that time or later"
        )
    return np.full(len(records), asked, np.int32)

  @functools.cached_property
  def _last_moment(self) -> int:
    """Seconds at which the data set ends; reads all histories."""
    ends = (
      self.histories[user]["time"][-1:]
      for user in tqdm(
        range(len(self.histories)), desc="last event", delay=2, leave=False
      )
    )
    return max((int(end[0]) for end in ends if len(end)), default=0)
