# SPDX-License-Identifier: Apache-2.0
"""The last events before a moment, as columns of an example's rows.

    item     H     oldest first, right padded with zeros
    action   H     bit masks of what was done at the time
    seconds  H     how long ago, -1 = not known; only where `seconds` asks

A window of events in groups of K begins with a group, counted from the first
event of the history (event_groups.py): it may be up to K - 1 events shorter.
`seconds` is either how long before the request an event was, which is another
number at every request, or how long after the event before it, which never
changes. Training may show a part of a window, as its sampler says.
"""

import dataclasses
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.layouts.event_groups import first_of_groups
from genrec_jax.data.schema import Record

_WHERE = "config.pipeline.layout"
REQUEST, BEFORE = "request", "before"
SECONDS = ("", REQUEST, BEFORE)
_NOT_KNOWN = -1


@runtime_checkable
class LengthSampler(Protocol):
  """Chooses which events of a window to train on.

  Attributes:
    keeps_last: whether these are always the last ones.
  """

  keeps_last: ClassVar[bool]

  def select(
    self,
    ages: Float[np.ndarray, "n"],
    max_length: int,
    rng: np.random.Generator,
  ) -> Int[np.ndarray, "m"]:
    """Places of the events to train on, in their order."""


@dataclasses.dataclass(frozen=True)
class HistoryWindow:
  """See the module docstring.

  Attributes:
    length: H, events at most.
    group: K; 1 = a window begins anywhere.
    seconds: one of SECONDS; "" = times are not told.
    sampler: None = always whole.
  """

  length: int
  group: int = 1
  seconds: str = ""
  sampler: LengthSampler | None = None

  def __post_init__(self):
    if not 1 <= self.group <= self.length:
      raise ValueError(
        f"{_WHERE}.history_group={self.group} must be at least 1, and at most"
        f" history_length={self.length}: a window begins with a group."
      )
    if self.seconds not in SECONDS:
      raise ValueError(
        f"{_WHERE}.history_seconds={self.seconds!r} is unknown."
        + choices_hint(self.seconds, SECONDS)
      )
    if self.group > 1 and self.sampler and not self.sampler.keeps_last:
      raise ValueError(
        f"{_WHERE} has history_group={self.group} and a stochastic_length that"
        " leaves events out within groups: take layouts.SuffixLength, or"
        " history_group=1."
      )

  @property
  def names(self) -> tuple[str, ...]:
    """Of what is told of an event."""
    return ("item", "action", *(("seconds",) if self.seconds else ()))

  @property
  def num_columns(self) -> int:
    """Of all events."""
    return len(self.names) * self.length

  def events(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n"]:
    """Which events of a record are shown at a moment when `end` were over.

    Args:
      record: a user's events.
      end: those that may be seen.
      rng: of the sampler; None shows the whole window.
    """
    shown = np.arange(first_of_groups(end, self.length, self.group), end)
    if self.sampler is None or rng is None or not end:
      return shown
    # Without times, an event's age is the number of events after it.
    order = record["time"][shown] if "time" in record else shown
    order = order.astype(np.float64)
    kept = self.sampler.select(order.max() - order, self.length, rng)
    if self.group == 1:
      return shown[kept]
    return np.arange(
      first_of_groups(end, max(len(kept), self.group), self.group), end
    )

  def fill(
    self,
    rows_nC: Int[np.ndarray, "n C"],
    moments: Moments,
    shown: BoundFeedback,
    rng: np.random.Generator | None = None,
  ) -> None:
    """Writes what is told of the events into rows, the moments' first ones.

    Args:
      rows_nC: zeros; num_columns of them.
      moments: as many, or more.
      shown: what actions mean.
      rng: of the sampler.
    """
    record, length = moments.record, self.length
    bits = shown.done(record)
    for row, end in enumerate(moments.ends[: len(rows_nC)]):
      events = self.events(record, int(end), rng)
      told = [record["item"][events], bits[events]]
      if self.seconds:
        told.append(self._seconds(moments, row, events, shown))
      for place, values in enumerate(told):
        rows_nC[row, place * length :][: len(events)] = values

  def split(
    self, columns_BLC: Int[np.ndarray, "B L C"]
  ) -> dict[str, np.ndarray]:
    """Such columns by name, (B, L, H) each."""
    parts = np.split(columns_BLC, len(self.names), axis=2)
    return {
      name: np.ascontiguousarray(part)
      for name, part in zip(self.names, parts, strict=True)
    }

  def _seconds(self, moments, row, events, shown):
    """How long ago events were."""
    record = moments.record
    if moments.times is None:
      return np.full(len(events), _NOT_KNOWN)
    time, known = record["time"], ~shown.untimed(record)
    if self.seconds == REQUEST:
      ago = moments.times[row] - time[events]
      return np.where(known[events], ago, _NOT_KNOWN)
    before = np.maximum(events - 1, 0)
    ago = time[events] - time[before]
    known = known[events] & known[before] & (events > 0)
    return np.where(known, ago, _NOT_KNOWN)
