# SPDX-License-Identifier: Apache-2.0
"""What if the past had been another: one event changed, all scores again.

    "-1=skip"                 of the last event came a skip
    "-3=removed,-1=click"     the third last never was, and the last was a click

Nothing else of the history moves: it is what the MODEL makes of the change and
not what the user would have done, who might have gone on differently. Where a
model reads the last n events, an older one takes the place of one removed.
"""

from collections.abc import Sequence
import dataclasses

from genrec_jax.data.schema import Record
from genrec_jax.ranking.actions import Actions
from genrec_jax.ranking.edits import removed, replaced

REMOVED = "removed"


@dataclasses.dataclass(frozen=True)
class Change:
  """One event of the past.

  Attributes:
    event: its place: -1 is the last, 0 the first.
    action: what comes of it instead; REMOVED = it never was.
  """

  event: int
  action: str


def changes_of(text: str) -> tuple[Change, ...]:
  """Reads "-3=removed,-1=click".

  Raises:
    ValueError: a part that is no such pair.
  """
  found = []
  for part in text.split(","):
    event, sign, action = (x.strip() for x in part.partition("="))
    if not sign or not event.removeprefix("-").isdecimal():
      raise ValueError(
        f"what_if={text!r}: {part!r} is no change; write EVENT=ACTION or"
        f" EVENT={REMOVED}, where event -1 is the last."
      )
    found.append(Change(int(event), action))
  return tuple(found)


def changed(
  record: Record, changes: Sequence[Change], actions: Actions
) -> Record:
  """The record with the changes; events are counted before any of them.

  Raises:
    ValueError: no changes, an event that is not there or named twice, or an
      unknown action.
  """
  count = len(record["item"])
  if not changes:
    raise ValueError("what_if needs at least one change of the history.")
  by_event: dict[int, str] = {}
  for change in changes:
    event = change.event % count if count else 0
    if not -count <= change.event < count:
      raise ValueError(
        f"event {change.event} is not in this history of {count} events: count"
        f" from -1, the last, to {-count}."
      )
    if event in by_event:
      raise ValueError(f"event {change.event} is changed twice; do it once.")
    by_event[event] = change.action
  # From the end: a removal moves what follows it.
  for event in sorted(by_event, reverse=True):
    if by_event[event] == REMOVED:
      record = removed(record, event)
    else:
      untimed = bool(actions.untimed(record)[event])
      fields = actions.named(by_event[event], untimed=untimed)
      record = replaced(record, event, fields)
  return record
