# SPDX-License-Identifier: Apache-2.0
"""How long an item was watched, among what the same user watched before.

    bucket b = floor(log_base(duration + 1e-6))
    q        = (#less + #equal / 2) / #earlier       play times of bucket b

Long videos are watched for longer, so a raw play time says more of the video
than of the user; within a bucket of durations it does not (OneRec-V2, arXiv
2508.20900, section 4). Point in time: the user's events of earlier requests
alone. Where these are fewer than `least_events`, the bucket's training events
of all users before the request stand for them, and where there is none of
these either, q = 1/2. An event without a play time or a duration has no q: NaN.
"""

import dataclasses

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.features.earlier import earlier_counts

_WHERE = "config.pipeline.layout.watched.percentiles"


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPercentiles:
  """Of every event of a data set, user by user.

  Attributes:
    starts: (U + 1,), where each user's events begin.
    percentile_E: q in [0, 1]; NaN where there is none.
    watched_E: play time, in the unit of durations; NaN where unknown.
  """

  starts: Int[np.ndarray, "U1"]
  percentile_E: Float[np.ndarray, "E"]
  watched_E: Float[np.ndarray, "E"]

  def of(
    self, user: int
  ) -> tuple[Float[np.ndarray, "L"], Float[np.ndarray, "L"]]:
    """q and play time of all events of a user's record."""
    mine = slice(*self.starts[user : user + 2])
    return self.percentile_E[mine], self.watched_E[mine]


@dataclasses.dataclass(frozen=True)
class WatchPercentiles:
  """See the module docstring.

  Attributes:
    duration: attribute of items, a number in any unit of time.
    relative: a record's value is the share of the duration that was played;
      else it is the play time, in the same unit.
    base: of the logarithm; the published one is not said.
    least_events: of a user and bucket, for q to be among them.
  """

  duration: str
  relative: bool = True
  base: float = 2.0
  least_events: int = 4

  def __post_init__(self):
    check_counts(self, _WHERE, "least_events")
    if not 1 < self.base < np.inf:
      raise ValueError(f"{_WHERE}.base={self.base} must be above 1.")

  def fit(
    self, histories: HistorySource, attributes: pl.DataFrame
  ) -> FittedPercentiles:
    """Reads all histories once.

    Args:
      histories: a prepared data set.
      attributes: of items 1, 2, ... in order.

    Raises:
      ValueError: items without the attribute, or with one that is no number;
        data without values or times.
    """
    duration_V1 = self._durations(attributes)
    parts, lengths = [], []
    for user in range(len(histories)):
      record = histories[user]
      parts.append(_columns(record, histories.split.train_end(record)))
      lengths.append(len(record["item"]))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    item, value, time, end, asked_time, trains = (
      np.concatenate(column) for column in zip(*parts, strict=True)
    )
    duration = duration_V1[item]
    watched = value * duration if self.relative else value
    known = ~np.isnan(watched) & (duration > 0)
    safe = np.where(known, duration, 1.0)
    bucket = np.floor(np.log(safe + 1e-6) / np.log(self.base)).astype(np.int64)
    shown = np.where(known, watched, 0.0)
    user = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(item)) - starts[user]
    low = bucket.min(initial=0)
    span = bucket.max(initial=0) - low + 1
    own = earlier_counts(user * span + bucket - low, place, end, shown, known)
    of_all = earlier_counts(bucket, time, asked_time, shown, known & trains)
    percentile = np.where(
      own.count_E >= self.least_events, _middle(own), _middle(of_all)
    )
    return FittedPercentiles(
      starts,
      np.where(known, percentile, np.nan).astype(np.float32),
      np.where(known, watched, np.nan).astype(np.float32),
    )

  def _durations(self, attributes: pl.DataFrame) -> Float[np.ndarray, "V1"]:
    """By item index; NaN where unknown."""
    if self.duration not in attributes.columns:
      raise ValueError(
        f"{_WHERE}.duration={self.duration!r} is no attribute of the items."
        + choices_hint(self.duration, attributes.columns)
      )
    column = attributes[self.duration]
    if not column.dtype.is_numeric():
      raise ValueError(
        f"{_WHERE}.duration={self.duration!r} must be numbers, and is"
        f" {column.dtype}."
      )
    numbers = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.concatenate([[np.nan], numbers])


def _columns(record, train_end: int) -> tuple[np.ndarray, ...]:
  """Of a record's events: item, value, time, how many of its events were over
  at its request, when that was, and whether it trains."""
  for name in ("value", "time"):
    if name not in record:
      raise ValueError(
        f"the data set has no {name}s, and percentiles of play times need them:"
        f" map a {'timestamp' if name == 'time' else name} column."
      )
  first, place = np.unique(
    request_numbers(record), return_index=True, return_inverse=True
  )[1:]
  end = first[place]
  time = record["time"].astype(np.int64)
  trains = np.arange(len(end)) < train_end
  value = record["value"].astype(np.float64)
  return record["item"], value, time, end, time[end], trains


def _middle(counts) -> Float[np.ndarray, "E"]:
  """Share of earlier ones below, ties by half; 1/2 where there is none."""
  below = counts.less_E + 0.5 * counts.equal_E
  share = below / np.maximum(counts.count_E, 1)
  return np.where(counts.count_E > 0, share, 0.5)
