# SPDX-License-Identifier: Apache-2.0
"""Which events stay: no exact duplicates, no rare users or items.

Duplicates are events of one user that agree in item, time (to the
microsecond), action, request and value: most often one event delivered twice.
Without times nothing is a duplicate, because a repeat looks the same.

Counts for the minima are taken over the whole log, as the papers do; so the
choice of items has seen events that the model is tested on.
"""

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.data.prepare import events as events_lib

DUPLICATE = "exact duplicate"
# Events of a user whom leave-one-out splits.
_MIN_SPLIT = 3


def duplicates(log: events_lib.Events) -> Bool[np.ndarray, "E"]:
  """Marks every copy but the first; `log` is sorted by (user, time, order)."""
  marked = np.zeros(len(log.user), bool)
  if log.microseconds is None or len(marked) < 2:
    return marked
  same = (np.diff(log.user) == 0) & (np.diff(log.microseconds) == 0)
  tied = np.zeros(len(marked), bool)
  tied[1:] |= same
  tied[:-1] |= same
  place = np.flatnonzero(tied)
  # A number for each run of one user at one time, then the rest as keys.
  keys = [np.cumsum(np.r_[True, ~same])[place], log.item[place]]
  keys += [
    column[place] for column in (log.action, log.request) if column is not None
  ]
  if log.value is not None:
    # As bits, so that a missing value (NaN) equals another.
    keys.append(log.value[place].view(np.int32))
  ranks = np.lexsort(keys)
  equal = np.ones(max(len(ranks) - 1, 0), bool)
  for key in keys:
    equal &= key[ranks][1:] == key[ranks][:-1]
  # lexsort is stable, so the first of equal events comes first.
  marked[place[ranks[1:][equal]]] = True
  return marked


def frequent(
  user: Int[np.ndarray, "E"],
  item: Int[np.ndarray, "E"],
  *,
  min_user_events: int,
  min_item_events: int,
  iterate: bool,
) -> tuple[Bool[np.ndarray, "E"], dict[str, int]]:
  """Events whose user and item both have enough events.

  Args:
    iterate: repeat until all that remain have enough (a k-core); otherwise
      both are counted once, on the log as it came.

  Returns:
    a mask (E,) and the events dropped, by reason.
  """
  for name, value in (
    ("min_user_events", min_user_events),
    ("min_item_events", min_item_events),
  ):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}.")
  keep = np.ones(len(user), bool)
  by_item, by_user = 0, 0
  while True:
    rare_item = keep & (np.bincount(item[keep]) < min_item_events).take(
      item, mode="clip"
    )
    rare_user = keep & (np.bincount(user[keep]) < min_user_events).take(
      user, mode="clip"
    )
    by_item += int(rare_item.sum())
    by_user += int((rare_user & ~rare_item).sum())
    changed = (rare_item | rare_user).any()
    keep &= ~(rare_item | rare_user)
    if not (iterate and changed and keep.any()):
      break
  dropped = {
    f"item below min_item_events={min_item_events}": by_item,
    f"user below min_user_events={min_user_events}": by_user,
  }
  return keep, {reason: n for reason, n in dropped.items() if n}


def cut(
  log: events_lib.Events,
  last_events: int | None,
  hold_out_items: float,
  hold_out_seed: int,
) -> tuple[events_lib.Events, dict[str, int]]:
  """The log by `recent` and `without_held_out`, and what they dropped."""
  keep, early = recent(log.user, last_events)
  if early:
    log = log.take(keep)
  keep, held = without_held_out(
    log.user, log.item, hold_out_items, hold_out_seed
  )
  if held:
    log = log.take(keep)
  return log, {**early, **held}


def recent(
  user: Int[np.ndarray, "E"], last_events: int | None
) -> tuple[Bool[np.ndarray, "E"], dict[str, int]]:
  """Marks the last events of every user; the log is sorted by user and time.

  LIGER's protocol (arXiv 2411.18814) cuts histories so before it splits them.

  Args:
    user: of each event.
    last_events: kept per user; None = all.

  Returns:
    as `frequent`.
  """
  if last_events is None:
    return np.ones(len(user), bool), {}
  if last_events < 1:
    raise ValueError(f"last_events must be at least 1, got {last_events}.")
  ends = np.searchsorted(user, user, side="right")
  keep = ends - np.arange(len(user)) <= last_events
  return keep, _counted(f"before the last {last_events} of a user", keep)


def without_held_out(
  user: Int[np.ndarray, "E"],
  item: Int[np.ndarray, "E"],
  share: float,
  seed: int,
) -> tuple[Bool[np.ndarray, "E"], dict[str, int]]:
  """Drops all but final events of some items, so that nothing trains on them.

  The items are drawn among those that are some user's last event: as targets
  of leave-one-out's test they remain (TIGER's cold start, arXiv 2305.05065).
  A user left with fewer than three events has no test target, and trains on
  all: there the last event of such an item goes too.

  Args:
    user: of each event, in the log's order (user, time).
    item: of each event.
    share: of those items that is held out.
    seed: of the draw.

  Returns:
    as `frequent`.
  """
  if not 0 <= share < 1:
    raise ValueError(f"hold_out_items must lie in [0, 1), got {share}.")
  keep = np.ones(len(user), bool)
  if not share:
    return keep, {}
  last = np.r_[user[1:] != user[:-1], True]
  targets = np.unique(item[last])
  count = round(share * len(targets))
  held = np.random.default_rng(seed).choice(targets, count, replace=False)
  is_held = np.isin(item, held)
  keep = last | ~is_held
  left = np.bincount(user[keep], minlength=user.max() + 1)
  keep &= ~is_held | (left[user] >= _MIN_SPLIT)
  return keep, _counted(f"of the {count} held-out items", keep)


def _counted(reason: str, keep: Bool[np.ndarray, "E"]) -> dict[str, int]:
  dropped = int((~keep).sum())
  return {reason: dropped} if dropped else {}
