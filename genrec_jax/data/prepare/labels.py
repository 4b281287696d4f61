# SPDX-License-Identifier: Apache-2.0
"""Rows of actions as impressions with labels, under data/action_log.py's rule.

    view   at 10:00      "view|later:cart"     asked about, with its label
    view   at 10:02      "view|unasked"        the same visit: history only
    cart   at 10:05      "cart|unasked"        history only, as are all others

Every row stays, at its own time, so a history shows what had been done by then
and no more: the label of an impression is told apart from it (LATER).
"""

import dataclasses
from typing import Any

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.action_log import ActionLog
from genrec_jax.data.action_text import LATER, SEPARATOR, UNASKED
from genrec_jax.data.prepare.events import Events

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE


def labelled(log: Events, rule: ActionLog) -> tuple[Events, dict[str, Any]]:
  """The log with actions that say what is asked about, and counts.

  Rows of one user at one time are put in order of strength, then of item id:
  the file's order decides nothing.

  Args:
    log: sorted by user and time.
    rule: what is assumed.

  Returns:
    the events, and what became of them: `rows`; `impressions`; `repeated`
    views of a visit; `labels` and `unseen` by action (impressions that it
    followed; rows that follow none within the window); `open`, impressions
    whose window outlasts the log, so that labels may be missing.

  Raises:
    ValueError: no times, or an action that the log does not have.
  """
  strength = _strengths(log, rule)
  log, strength = _in_order(log, strength)
  window = round(rule.window_hours * _HOUR)
  time = log.microseconds
  shown = strength == 0
  first = _first_of_visits(log, shown, round(rule.visit_minutes * _MINUTE))
  keys = _Keys(log)
  at = np.flatnonzero(first)
  followed, unseen = {}, {}
  for place, name in enumerate(rule.actions[1:], 1):
    rows = np.flatnonzero(strength == place)
    followed[name] = keys.within(at, rows, window)
    unseen[name] = int((~keys.after(rows, at, window)).sum())
  counts = {
    "rows": len(time),
    "impressions": len(at),
    "repeated": int(shown.sum()) - len(at),
    "labels": {name: int(x.sum()) for name, x in followed.items()},
    "unseen": unseen,
    "open": int((time[at] + window > time.max()).sum()),
  }
  return _named(log, at, followed), counts


def _strengths(log: Events, rule: ActionLog) -> Int[np.ndarray, "E"]:
  """Place of every row's action in the rule; -1 for others."""
  if log.microseconds is None or log.action is None:
    raise ValueError(
      "impressions are made of actions and their times: name the columns of"
      " both (config.data.action and config.data.timestamp)."
    )
  places = np.full(len(log.actions), -1)
  for place, name in enumerate(rule.actions):
    if name not in log.actions[1:]:
      raise ValueError(
        f"impressions has {name!r}, which is no action of the log."
        + choices_hint(name, log.actions[1:])
      )
    places[log.actions.index(name)] = place
  return places[log.action]


def _in_order(
  log: Events, strength: Int[np.ndarray, "E"]
) -> tuple[Events, Int[np.ndarray, "E"]]:
  """Ties of user and time by strength, item id and what else there is."""
  rank = np.empty(len(log.item_ids), np.int64)
  rank[np.argsort(np.array(log.item_ids, object))] = np.arange(len(rank))
  more = [
    column
    for column in (
      log.request,
      None if log.value is None else log.value.view(np.int32),
      log.action,
    )
    if column is not None
  ]
  order = np.lexsort(
    [*more, rank[log.item], strength, log.microseconds, log.user]
  )
  return log.take(order), strength[order]


def _first_of_visits(
  log: Events, shown: Bool[np.ndarray, "E"], gap: int
) -> Bool[np.ndarray, "E"]:
  """The first view of an item in a visit."""
  opens = np.ones(len(shown), bool)
  opens[1:] = np.diff(log.user) != 0
  opens[1:] |= np.diff(log.microseconds) > gap
  visit = np.cumsum(opens)
  rows = np.flatnonzero(shown)
  # Stable: of equal pairs the first in time is found.
  pairs = np.stack([visit[rows], log.item[rows]], axis=1)
  _, place = np.unique(pairs, axis=0, return_index=True)
  first = np.zeros(len(shown), bool)
  first[rows[place]] = True
  return first


class _Keys:
  """Rows of one user and item, in time: one number per row, sorted alike."""

  def __init__(self, log: Events):
    pair = log.user.astype(np.int64) * len(log.item_ids) + log.item
    _, group = np.unique(pair, return_inverse=True)
    self.group, self.time = group.astype(np.int64), log.microseconds
    times, rank = np.unique(log.microseconds, return_inverse=True)
    # As many as there are rows each: their product is far below 2**63.
    self.key = self.group * len(times) + rank

  def within(self, rows, others, window: int) -> Bool[np.ndarray, "n"]:
    """Whether one of the others is of the pair, and up to `window` later."""
    return self._near(rows, others, window, 1)

  def after(self, rows, others, window: int) -> Bool[np.ndarray, "n"]:
    """Likewise up to `window` earlier."""
    return self._near(rows, others, window, -1)

  def _near(self, rows, others, window, sign):
    if not len(others):
      return np.zeros(len(rows), bool)
    others = others[np.argsort(sign * self.key[others], kind="stable")]
    place = np.searchsorted(sign * self.key[others], sign * self.key[rows])
    nearest = others[np.minimum(place, len(others) - 1)]
    away = sign * (self.time[nearest] - self.time[rows])
    same = self.group[nearest] == self.group[rows]
    return (place < len(others)) & same & (away <= window)


def _named(
  log: Events,
  at: Int[np.ndarray, "I"],
  followed: dict[str, Bool[np.ndarray, "I"]],
) -> Events:
  """The log with a text of each row's action, and what it is."""
  # Bit 0: an impression; bit t: the t-th stronger action followed.
  bits = np.zeros(len(log.action), np.int64)
  bits[at] = 1
  for place, has in enumerate(followed.values(), 1):
    bits[at] |= has.astype(np.int64) << place
  pairs = np.stack([log.action, bits], axis=1)
  kinds, place = np.unique(pairs, axis=0, return_inverse=True)
  texts = [_text(log.actions[a], int(b), list(followed)) for a, b in kinds]
  names = sorted({*texts} - {""})
  table = [1 + names.index(text) if text else 0 for text in texts]
  action = np.array(table, np.int32)[place.reshape(-1)]
  return dataclasses.replace(log, action=action, actions=["", *names])


def _text(action: str, bits: int, stronger: list[str]) -> str:
  if not bits:
    return action and f"{action}{SEPARATOR}{UNASKED}"
  later = [n for i, n in enumerate(stronger, 1) if bits >> i & 1]
  return SEPARATOR.join([action, *(f"{LATER}{name}" for name in later)])
