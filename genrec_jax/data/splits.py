# SPDX-License-Identifier: Apache-2.0
"""Which events train, which are validation and test targets.

LeaveOneOut: the last event of a user is the test target, the second-last the
validation target, all before train; a user with fewer than three events
trains only. Times of different users overlap: training sees events that
happened after another user's test event.

GlobalTime: two moments cut every history. Events before validation_start
train; all in [validation_start, test_start) and [test_start, test_end) are
targets, each with the history before it, which may be empty. Events of one
moment, such as a basket, have an order that says nothing: `once_a_moment` asks
for the first of them alone, whose history then ends before the basket.
`skip_actions` leaves out what nobody is to be asked for, such as returns: the
first event of a basket that is something else stands for it, and its history
still ends before the basket.

A split is resolved once, when the data is prepared; the manifest keeps the
result, and `load` makes of it the split that is used from then on: LeaveOneOut
as it is, GlobalTime as a TimeCut.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import datetime
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data import action_text, schema

PARTS = ("validation", "test")


def _check_part(part: str) -> None:
  if part not in PARTS:
    raise ValueError(f"part must be one of {PARTS}, got {part!r}.")


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
  """Last event tests, second-last validates, the others train."""

  def resolve(
    self,
    times: Int[np.ndarray, "E"] | None,
    epoch_seconds: int | None,
    actions: Sequence[str] = (),
  ) -> dict[str, Any]:
    """Nothing to resolve: the JSON-able description."""
    del times, epoch_seconds, actions
    return {"name": "data.LeaveOneOut"}

  def train_end(self, record: schema.Record) -> int:
    """Events [0, train_end) are for training."""
    length = len(record["item"])
    return length - 2 if length >= 3 else length

  def targets(self, record: schema.Record, part: str) -> Int[np.ndarray, "T"]:
    """Positions of the targets of a part."""
    _check_part(part)
    length = len(record["item"])
    if length < 3:
      return np.zeros(0, np.int32)
    return np.array([length - 2 if part == "validation" else length - 1], "i4")

  def wanted(self, record: schema.Record, part: str) -> Int[np.ndarray, "T"]:
    """Positions of all that somebody may be asked for in a part."""
    return self.targets(record, part)

  def known(self, record: schema.Record, target: int) -> int:
    """Events [0, known) are the history of the request for a target."""
    del record
    return target


@dataclasses.dataclass(frozen=True)
class GlobalTime:
  """Two moments in time cut all histories; `resolve` finds them.

  Attributes:
    validation_fraction, test_fraction: share of all events in each part (the
      cut falls on an event time, so ties can make a part larger). Used
      unless the two starts are given.
    validation_start, test_start: unix seconds (as text of 9 digits or more
      too), or ISO text read as UTC.
    test_end: likewise; what comes from then on is in no part. None = nothing.
    once_a_moment: only the first of a user's events of one time is a target.
    skip_actions: events with none but these actions are no targets; None = all
      events may be.
  """

  validation_fraction: float = 0.1
  test_fraction: float = 0.1
  validation_start: int | str | None = None
  test_start: int | str | None = None
  test_end: int | str | None = schema.later(None)
  once_a_moment: bool = schema.later(False)
  skip_actions: Sequence[str] | None = schema.later(None)

  def __post_init__(self):
    if isinstance(self.skip_actions, str):
      raise ValueError(
        f"GlobalTime's skip_actions={self.skip_actions!r} must be a tuple, such"
        f" as ({self.skip_actions!r},)."
      )
    # JSON has lists, and what it has is compared with a config's.
    skipped = tuple(self.skip_actions or ()) or None
    object.__setattr__(self, "skip_actions", skipped)
    if (self.validation_start is None) != (self.test_start is None):
      raise ValueError(
        "GlobalTime needs both validation_start and test_start, or neither;"
        f" got {self.validation_start!r} and {self.test_start!r}."
      )
    if self.test_end is not None and self.test_start is None:
      raise ValueError(
        f"GlobalTime's test_end={self.test_end!r} needs validation_start and"
        " test_start: fractions reach to the last event."
      )
    low = min(self.validation_fraction, self.test_fraction)
    if low <= 0 or self.validation_fraction + self.test_fraction >= 1:
      raise ValueError(
        "GlobalTime's fractions must be above 0 and sum to less than 1, got"
        f" {self.validation_fraction} and {self.test_fraction}."
      )

  def resolve(
    self,
    times: Int[np.ndarray, "E"] | None,
    epoch_seconds: int | None,
    actions: Sequence[str] = (),
  ) -> dict[str, Any]:
    """Turns fractions or dates into seconds since the epoch.

    Args:
      times: times of all events in seconds since the epoch, in any order.
      epoch_seconds: unix seconds of the epoch.
      actions: texts of the events' actions, by index.

    Raises:
      ValueError: no times, a part of the data that would be empty, or an
        action to be skipped that no event has.
    """
    if times is None or epoch_seconds is None:
      raise ValueError(
        "a GlobalTime split needs event times, and this source has none."
        " Map a timestamp column, or use data.LeaveOneOut."
      )
    if self.validation_start is None:
      ends = (
        1 - self.validation_fraction - self.test_fraction,
        1 - self.test_fraction,
      )
      places = [int(len(times) * end) for end in ends]
      ordered = np.partition(times, places)
      validation, test = (int(ordered[place]) for place in places)
    else:
      validation = _unix_seconds(self.validation_start) - epoch_seconds
      test = _unix_seconds(self.test_start) - epoch_seconds
    end, until = None, ""
    if self.test_end is not None:
      end = _unix_seconds(self.test_end) - epoch_seconds
      until = f" until {_iso(end + epoch_seconds)}"
    in_time = True if end is None else times < end
    counts = (
      int((times < validation).sum()),
      int(((times >= validation) & (times < test)).sum()),
      int(((times >= test) & in_time).sum()),
    )
    if min(counts) == 0:
      raise ValueError(
        f"the GlobalTime split leaves {counts[0]} events to train,"
        f" {counts[1]} to validate and {counts[2]} to test"
        f" (validation from {_iso(validation + epoch_seconds)}, test from"
        f" {_iso(test + epoch_seconds)}{until}; the events lie between"
        f" {_iso(int(times.min()) + epoch_seconds)} and"
        f" {_iso(int(times.max()) + epoch_seconds)}). Choose other fractions"
        " or starts."
      )
    resolved = {
      "name": "data.GlobalTime",
      "validation_start_seconds": validation,
      "test_start_seconds": test,
      "validation_start": _iso(validation + epoch_seconds),
      "test_start": _iso(test + epoch_seconds),
    }
    if end is not None:
      resolved["test_end_seconds"] = end
      resolved["test_end"] = _iso(end + epoch_seconds)
    if self.once_a_moment:
      resolved["once_a_moment"] = True
    if self.skip_actions:
      resolved["skip_actions"] = list(self.skip_actions)
      resolved["skipped_actions"] = _skipped(self.skip_actions, actions)
    return resolved


@dataclasses.dataclass(frozen=True)
class TimeCut:
  """GlobalTime in seconds since the epoch of the data set.

  Attributes:
    skipped_actions: indices of the actions whose events are no targets.
  """

  validation_start_seconds: int
  test_start_seconds: int
  test_end_seconds: int | None = None
  once_a_moment: bool = False
  skipped_actions: Sequence[int] = ()

  def train_end(self, record: schema.Record) -> int:
    """Events [0, train_end) are for training."""
    return int(np.searchsorted(record["time"], self.validation_start_seconds))

  def targets(self, record: schema.Record, part: str) -> Int[np.ndarray, "T"]:
    """Positions of the targets of a part."""
    targets = self.wanted(record, part)
    if not self.once_a_moment:
      return targets
    # Both borders are moments: a basket lies in one part.
    times = record["time"][targets]
    return targets[np.diff(times, prepend=np.int64(-(2**40))) > 0]

  def wanted(self, record: schema.Record, part: str) -> Int[np.ndarray, "T"]:
    """Positions of all that somebody may be asked for in a part: of a moment
    that is asked for once, more than its target."""
    _check_part(part)
    times = record["time"]
    start, end = np.searchsorted(
      times, (self.validation_start_seconds, self.test_start_seconds)
    )
    if part == "test":
      start, end = end, len(times)
      if self.test_end_seconds is not None:
        end = np.searchsorted(times, self.test_end_seconds)
    targets = np.arange(start, end, dtype=np.int32)
    if len(self.skipped_actions):
      skipped = np.isin(record["action"][targets], self.skipped_actions)
      targets = targets[~skipped]
    return targets

  def known(self, record: schema.Record, target: int) -> int:
    """Events [0, known) are the history of the request for a target.

    Those of its moment are none where a moment is asked for once.
    """
    if not self.once_a_moment:
      return target
    return int(np.searchsorted(record["time"], record["time"][target]))


def load(resolved: Mapping[str, Any]) -> LeaveOneOut | TimeCut:
  """The split that a manifest describes."""
  name = resolved.get("name")
  if name == "data.LeaveOneOut":
    return LeaveOneOut()
  if name == "data.GlobalTime":
    return TimeCut(
      resolved["validation_start_seconds"],
      resolved["test_start_seconds"],
      resolved.get("test_end_seconds"),
      resolved.get("once_a_moment", False),
      tuple(resolved.get("skipped_actions", ())),
    )
  raise ValueError(
    f"the manifest names an unknown split {name!r}; known are"
    " data.LeaveOneOut and data.GlobalTime."
  )


def _skipped(names: Sequence[str], vocabulary: Sequence[str]) -> list[int]:
  """Indices of the texts that say of an event nothing but these actions."""
  done = [
    {
      word
      for word in action_text.words(text) - action_text.MARKS
      if not word.startswith(action_text.LATER)
    }
    for text in vocabulary
  ]
  known = set().union(*done)
  for name in names:
    if name not in known:
      raise ValueError(
        f"GlobalTime's skip_actions names {name!r}, an action that no event"
        f" has.{choices_hint(name, known)}"
      )
  return [i for i, words in enumerate(done) if words and words <= {*names}]


def _unix_seconds(moment: int | str) -> int:
  # 8 digits are a date, 20150131.
  if isinstance(moment, int) or (moment.isdecimal() and len(moment) > 8):
    return int(moment)
  try:
    parsed = datetime.datetime.fromisoformat(moment)
  except ValueError as e:
    raise ValueError(
      f"GlobalTime start {moment!r} is neither unix seconds nor ISO text such"
      " as '2015-01-31' or '2015-01-31T12:00:00'."
    ) from e
  if parsed.tzinfo is None:
    parsed = parsed.replace(tzinfo=datetime.UTC)
  return int(parsed.timestamp())


def _iso(seconds: int) -> str:
  start = datetime.datetime(1970, 1, 1)
  return (start + datetime.timedelta(seconds=seconds)).isoformat()
