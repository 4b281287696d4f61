# SPDX-License-Identifier: Apache-2.0
"""From a user's id or a list of item ids to what a model is asked.

Whoever nothing is known of has an empty record: the caller decides who answers.
"""

from collections.abc import Sequence
import dataclasses
import warnings

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.schema import Record
from genrec_jax.data.times import int32_seconds

_INT32 = np.iinfo(np.int32)
# The caller of the caller of `Recommender.recommend`'s parts.
_STACKLEVEL = 5


@dataclasses.dataclass(frozen=True)
class Asking:
  """What is known of whom is asked for, of one prepared data set.

  Attributes:
    histories: of the data set.
    catalog: its items.
    users: its users.
  """

  histories: Histories
  catalog: Catalog
  users: Users

  def record(
    self,
    user: object = None,
    history: Sequence[object] | None = None,
    *,
    strict: bool,
  ) -> Record:
    """The record of a user, or one made of a list of item ids.

    Events of a list have no times: they are laid one median gap apart.

    Args:
      user: id; or
      history: ids of items, oldest first.
      strict: an unknown id or an empty history is an error; else what is
        unknown is left out, with a warning, and the record may be empty.

    Raises:
      ValueError: both or neither of user and history, a text for a list, or
        what `strict` says.
    """
    if (user is None) == (history is None):
      raise ValueError("give either a user or a history, and not both")
    if isinstance(history, str):
      raise ValueError(f"history={history!r} must be a list of item ids")
    if user is not None:
      record = self._of_user(user, strict)
    else:
      items = self._items(history, strict)
      record = record_of_items(self.histories.manifest, items)
    if strict and not len(record["item"]):
      whose = f"user {user!r}" if user is not None else "the history"
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
      rows = [row for row, r in enumerate(records) if len(r["item"])]
      if rows:
        some = [records[row] for row in rows]
        query_time_B[rows] = self._query_times(some, request_time)
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

  def _of_user(self, user: object, strict: bool) -> Record:
    try:
      return self.histories[self.users.index_of(user)]
    except ValueError as error:
      if strict:
        raise
      warnings.warn(
        f"{error} Popular items are recommended.", stacklevel=_STACKLEVEL
      )
      return record_of_items(self.histories.manifest, [])

  def _items(self, history: Sequence[object], strict: bool) -> list[int]:
    if strict:
      return [self.catalog.index_of(item_id) for item_id in history]
    items = self.catalog.known(history).tolist()
    if len(items) < len(history):
      unknown = [x for x in history if not len(self.catalog.known([x]))]
      shown = ", ".join(map(repr, unknown[:3]))
      warnings.warn(
        f"{len(unknown)} of {len(history)} items of a history are not in the"
        f" catalogue and are skipped: {shown}"
        + (", ..." if len(unknown) > 3 else ""),
        stacklevel=_STACKLEVEL,
      )
    return items

  def _query_times(
    self, records: list[Record], request_time: int | None
  ) -> Int[np.ndarray, "B"]:
    """Seconds since the epoch at which is asked, int32."""
    manifest = self.histories.manifest
    epoch, gap = manifest.epoch_seconds or 0, manifest.median_gap_seconds or 0
    last = np.array([r["time"][-1] for r in records], np.int64)
    if request_time is None:
      return int32_seconds(last + gap, "the last event and a gap")
    asked = request_time - epoch
    for record, seconds in zip(records, last, strict=True):
      # A list of items has no times of its own to be later than.
      if record["user"] >= 0 and asked < seconds:
        raise ValueError(
          f"request_time={request_time} lies {seconds - asked} s before the"
          f" last event ({seconds + epoch})"
        )
    if not _INT32.min <= asked <= _INT32.max:
      raise ValueError(
        f"request_time={request_time} must be unix SECONDS within 68 years of"
        f" the data set's first event ({manifest.epoch_seconds})"
      )
    for record, seconds in zip(records, asked - last - gap, strict=True):
      if record["user"] < 0:
        record["time"] = int32_seconds(
          record["time"].astype(np.int64) + seconds,
          f"a history that ends at request_time={request_time}",
        )
    return np.full(len(records), asked, np.int32)
