# SPDX-License-Identifier: Apache-2.0
"""Raw event log -> encoded sequences, one per user, with all tables.

    ids -> codes    times -> int32 seconds since the earliest event
    stable sort by (time, order in file)    drop duplicates and rare ones
    items 1..V by first appearance in that order, over the whole log
    users 0..U-1 by first appearance in the file

Each event that does not reach the sequences is counted under a reason:
in = out + dropped. A log of N events needs about 100 N bytes at its peak.
data/prepare/preparation.py writes the result to disk.
"""

import dataclasses
import datetime
from typing import Any

from jaxtyping import Int
import numpy as np
import polars as pl
from tqdm import tqdm

from genrec_jax.data import schema
from genrec_jax.data.prepare import (
  attributes,
  events as events_lib,
  filters,
  labels,
)

_INT32_MAX = 2**31 - 1
# 29 years, and two more until request_events' times end.
_EXACT = 29 * 31_556_952


@dataclasses.dataclass
class Sequences:
  """All histories end to end, user after user, each in sorted order.

  Attributes:
    offsets: user u owns events [offsets[u], offsets[u + 1]).
    fields: name -> array (E,) as stored in a record.
    user_ids: id by user index.
    items: one row per item 1..V: item_id, title and attributes.
    users: one row per user: user_id and attributes; None where the source has
      no table of them.
    counts, item_table, scenes: see schema.Manifest.
  """

  offsets: Int[np.ndarray, "rows"]
  fields: dict[str, np.ndarray]
  epoch_seconds: int | None
  user_ids: list[str]
  items: pl.DataFrame
  actions: list[str]
  counts: dict[str, Any]
  item_table: dict[str, int]
  users: pl.DataFrame | None = None
  scenes: list[str] = dataclasses.field(default_factory=list)

  def record(self, user: int) -> schema.Record:
    """The record of a user index."""
    start, end = self.offsets[user], self.offsets[user + 1]
    record = {name: array[start:end] for name, array in self.fields.items()}
    record["user"] = np.array(user, np.int32)
    return record

  def median_gap_seconds(
    self, train_end: Int[np.ndarray, "U"], *, of_moments: bool = False
  ) -> int | None:
    """Median time between consecutive training events of a user.

    Args:
      of_moments: between times that differ: events of one basket are one.
      train_end: user u's events [0, train_end[u]) are for training. An
        evaluation asks at this distance from the last event, so the events
        that it asks for have no say.
    """
    if "time" not in self.fields:
      return None
    lengths = np.diff(self.offsets)
    position = np.arange(self.offsets[-1]) - np.repeat(
      self.offsets[:-1], lengths
    )
    later = (position > 0) & (position < np.repeat(train_end, lengths))
    gaps = np.diff(self.fields["time"])[later[1:]]
    gaps = gaps[gaps > 0] if of_moments else gaps
    return int(np.median(gaps)) if len(gaps) else None


def encode(
  raw: schema.RawLog,
  *,
  min_user_events: int = 1,
  min_item_events: int = 1,
  iterate_filter: bool = True,
  deduplicate: bool = True,
  keep_unseen_items: bool = False,
  drop_missing_timestamps: bool = False,
  drop_unreadable_timestamps: bool = False,
  ignore_timestamps: bool = False,
  keep_null_words: bool = False,
  last_events: int | None = None,
  hold_out_items: float = 0.0,
  hold_out_seed: int = 0,
) -> Sequences:
  """Encodes a log.

  Args:
    raw: what a source read.
    min_user_events, min_item_events: events that a user and an item need.
    iterate_filter: apply both until nothing changes (a k-core); otherwise
      once, both counted on the log as it came.
    deduplicate: drop exact duplicates (see data/prepare/filters.py); they are
    counted
      either way.
    keep_unseen_items: give items of the item table that have no event an
      index too, after the others.
    drop_missing_timestamps: drop and count events without a time, instead of
      an error.
    drop_unreadable_timestamps: likewise those whose time is none: text that
      nobody can read, and marks of an unknown time.
    ignore_timestamps: the log has an order and no times, whatever its source
      reads: that of the column `order`, or of the file.
    keep_null_words: the words nan, null, none and n/a are ids like others.
    last_events: kept of every user, after the minima; None = all.
    hold_out_items: share of the users' last items that keep no other event
      than users' last ones: leave-one-out then tests on items that nothing
      trained on.
    hold_out_seed: of the draw of those items.

  Raises:
    ValueError: input that cannot be read, or no event that remains.
  """
  with tqdm(total=4, desc="encode", unit=" steps") as bar:
    bar.set_postfix_str("read the log")
    log, rows_in, dropped = events_lib.read(
      raw,
      drop_missing_timestamps=drop_missing_timestamps,
      drop_unreadable_timestamps=drop_unreadable_timestamps,
      ignore_timestamps=ignore_timestamps,
      null_words=not keep_null_words,
    )
    counts = {"in": rows_in + sum(raw.dropped.values())}
    dropped = {**raw.dropped, **dropped}
    _check_remaining(len(log.user), counts["in"], dropped)
    _next(bar, f"sort {len(log.user):,} events")
    log = _sort(log)
    counts["users_in"] = len(log.user_ids)
    counts["items_in"] = len(log.item_ids)

    _next(bar, "filter")
    log, counts["duplicates"] = _without_copies(log, dropped, deduplicate)
    if raw.action_log is not None:
      log, counts["impressions"] = labels.labelled(log, raw.action_log)
    keep, rare = filters.frequent(
      log.user,
      log.item,
      min_user_events=min_user_events,
      min_item_events=min_item_events,
      iterate=iterate_filter,
    )
    dropped |= rare
    if not keep.all():
      log = log.take(keep)
    log, cut = filters.cut(log, last_events, hold_out_items, hold_out_seed)
    dropped |= cut
    _check_remaining(len(log.user), counts["in"], dropped)
    counts |= {"out": len(log.user), "dropped": dropped}

    _next(bar, "number")
    sequences = _sequences(
      log, raw, counts, keep_unseen_items, not keep_null_words
    )
    _next(bar, "done")
  return sequences


def _without_copies(
  log: events_lib.Events, dropped: dict[str, int], deduplicate: bool
) -> tuple[events_lib.Events, int]:
  """Counts duplicates, and drops them if that is wanted."""
  copies = filters.duplicates(log)
  count = int(copies.sum())
  if not (deduplicate and count):
    return log, count
  dropped[filters.DUPLICATE] = count
  return log.take(~copies), count


def _next(bar: tqdm, what: str) -> None:
  bar.set_postfix_str(what, refresh=False)
  bar.update()


def _check_remaining(left: int, rows_in: int, dropped: dict[str, int]) -> None:
  if left == 0:
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())
    raise ValueError(
      f"of {rows_in:,} events none remains: {reasons}. Check the columns and"
      " lower the minima."
    )


def _sort(log: events_lib.Events) -> events_lib.Events:
  """Sorts by (user, time, order) and numbers users and items.

  Users by first appearance in the file, items by first appearance in time;
  ids that never appear (their events were dropped) are left out.
  """
  user, user_ids = _by_first_appearance(log.user, log.user_ids)
  keys = [k for k in (log.order, log.microseconds) if k is not None]
  if not keys:
    in_time = np.arange(len(user))
  elif len(keys) == 1:
    in_time = np.argsort(keys[0], kind="stable")
  else:
    in_time = np.lexsort(keys)
  item, item_ids = _by_first_appearance(log.item[in_time], log.item_ids)
  by_user = np.argsort(user[in_time], kind="stable")
  place = in_time[by_user]
  item = item[by_user]
  del in_time, by_user
  log = dataclasses.replace(log, user=user, order=None).take(place)
  return dataclasses.replace(
    log, item=item, user_ids=user_ids, item_ids=item_ids
  )


def _by_first_appearance(
  codes: Int[np.ndarray, "E"], names: list[str]
) -> tuple[Int[np.ndarray, "E"], list[str]]:
  first = np.full(len(names), len(codes), np.int64)
  np.minimum.at(first, codes, np.arange(len(codes)))
  ranked = np.argsort(first, kind="stable")
  ranked = ranked[: int((first < len(codes)).sum())]
  table = np.zeros(len(names), np.int32)
  table[ranked] = np.arange(len(ranked), dtype=np.int32)
  return table[codes], [names[i] for i in ranked]


def _compact(
  codes: Int[np.ndarray, "E"], names: list[str]
) -> tuple[Int[np.ndarray, "E"], list[str], Int[np.ndarray, "N"]]:
  """Renumbers the codes that are left, in their order; also their counts."""
  events = np.bincount(codes, minlength=len(names))
  left = events > 0
  table = (np.cumsum(left) - 1).astype(np.int32)
  names = [name for name, is_left in zip(names, left, strict=True) if is_left]
  return table[codes], names, events[left]


def _sequences(
  log: events_lib.Events,
  raw: schema.RawLog,
  counts: dict[str, Any],
  keep_unseen_items: bool,
  null_words: bool,
) -> Sequences:
  user, user_ids, events = _compact(log.user, log.user_ids)
  item, item_ids, _ = _compact(log.item, log.item_ids)
  offsets = np.concatenate([[0], np.cumsum(events)])
  fields = {"item": item + np.int32(1)}
  epoch_seconds = None
  if log.microseconds is not None:
    fields["time"], epoch_seconds = _seconds(log.microseconds)
  if log.action is not None:
    fields["action"] = log.action
  if log.value is not None:
    fields["value"] = log.value
  if log.request is not None:
    fields["request"] = _request_numbers(user, log.request, offsets)
  if log.scene is not None:
    fields["scene"] = log.scene
  table, item_table = attributes.of_items(
    item_ids, raw.items, keep_unseen=keep_unseen_items, null_words=null_words
  )
  users = None
  if raw.users is not None:
    users, counts["user_table"] = attributes.of_users(
      user_ids, raw.users, null_words=null_words
    )
  return Sequences(
    offsets=offsets,
    fields=fields,
    epoch_seconds=epoch_seconds,
    user_ids=user_ids,
    items=table,
    actions=log.actions,
    counts=counts,
    item_table=item_table,
    users=users,
    scenes=log.scenes,
  )


def _seconds(
  microseconds: Int[np.ndarray, "E"],
) -> tuple[Int[np.ndarray, "E"], int]:
  """int32 seconds since the epoch, and its unix seconds.

  The epoch is the earliest event's second; of a log over 29 years it lies that
  long before the last one, so that recent times are those that models tell
  apart best (data/layouts/request_events.py).
  """
  seconds = microseconds // 1_000_000
  first, last = int(seconds.min()), int(seconds.max())
  if last - first > _INT32_MAX:
    start = datetime.datetime(1970, 1, 1)
    dates = [
      str(start + datetime.timedelta(seconds=s))
      if abs(s) < 2e11 and s > -6e10
      else f"{s} s after 1970"
      for s in (first, last)
    ]
    raise ValueError(
      f"the events span {(last - first) / 31_557_600:,.0f} years, from"
      f" {dates[0]} to {dates[1]}; int32 seconds hold 68. Some timestamps are"
      " wrong, or their unit is: remove those events or give the unit."
    )
  epoch = max(first, last - _EXACT)
  return (seconds - epoch).astype(np.int32), epoch


def _request_numbers(
  user: Int[np.ndarray, "E"],
  request: Int[np.ndarray, "E"],
  offsets: Int[np.ndarray, "rows"],
) -> Int[np.ndarray, "E"]:
  """Numbers each user's requests 0, 1, ... by first event; an event without a
  request is one of its own."""
  key = request.astype(np.int64)
  alone = key < 0
  key[alone] = int(key.max()) + 1 + np.arange(int(alone.sum()))
  ranks = np.lexsort((key, user))
  opens = np.ones(len(ranks), bool)
  opens[1:] = np.diff(user[ranks]) != 0
  opens[1:] |= np.diff(key[ranks]) != 0
  # Stable: the first of a group is its earliest event.
  first = ranks[opens]
  is_first = np.zeros(len(ranks), np.int64)
  is_first[first] = 1
  number = np.cumsum(is_first) - 1
  number -= number[offsets[:-1]][user]
  result = np.empty(len(ranks), np.int32)
  result[ranks] = number[first][np.cumsum(opens) - 1]
  return result
