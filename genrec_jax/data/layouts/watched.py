# SPDX-License-Identifier: Apache-2.0
"""What came of the events that a layout asks for: how long, liked, refused.

    target_percentile_BS  q of its play time, features.WatchPercentiles; -1 = ?
    target_watched_BS     its play time, in the unit of durations; 0 = unknown
    target_taken_BS       1 where one of the actions `taken` was done
    target_refused_BS     1 where one of `refused` was, or it was soon skipped

It belongs to layouts of codes (semantic_id_prefixes.py, token_targets.py,
semantic_ids.py). With it, a target is an event with labels and a known time,
and events of its own request are no part of what it is asked behind. Which
targets a loss learns from is the loss's to say (objectives/logged_policy.py,
objectives/target_weights.py); `only_taken` leaves the others out beforehand.
"""

import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core.option_checks import check_scales
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.features.watch_percentiles import (
  FittedPercentiles,
  WatchPercentiles,
)
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.schema import Record

_WHERE = "config.pipeline.layout.watched"
# Columns: events of the same request before it, bits of two float32, flags.
_COLUMNS = ("beside", "percentile", "watched", "flags")
_TAKEN, _REFUSED, _TARGET = 1, 2, 4


@dataclasses.dataclass(frozen=True)
class Watched:
  """See the module docstring.

  Attributes:
    percentiles: of play times.
    taken: actions of a positive.
    refused: actions of a negative.
    skip_below: play times below it are negatives too, in the unit of
      durations, where nothing of `taken` was done; 0 = none.
    skip_share: of these, drawn anew in every epoch.
    only_taken: other events are no targets.
    fitted: of the data set; set by `bind`.
    feedback: likewise.
  """

  percentiles: WatchPercentiles
  taken: tuple[str, ...]
  refused: tuple[str, ...] = ()
  skip_below: float = 0.0
  skip_share: float = 1.0
  only_taken: bool = False
  fitted: FittedPercentiles | None = None
  feedback: BoundFeedback | None = None

  def __post_init__(self):
    check_scales(self, _WHERE, "skip_below", "skip_share")
    if self.skip_share > 1:
      raise ValueError(f"{_WHERE}.skip_share={self.skip_share} is above 1.")
    if not self.taken or set(self.taken) & set(self.refused):
      raise ValueError(
        f"{_WHERE}: taken={self.taken} names one action or more, and none of"
        f" refused={self.refused}."
      )

  @property
  def num_columns(self) -> int:
    """Columns that it adds to an Example."""
    return len(_COLUMNS)

  def bind(self, artifacts: LayoutArtifacts) -> "Watched":
    """With percentiles of the data set, and what its actions are called."""
    histories = artifacts.histories
    tasks = (*self.taken, *self.refused)
    return dataclasses.replace(
      self,
      fitted=self.percentiles.fit(histories, artifacts.catalog.attributes),
      feedback=Feedback(tasks).bind(histories.manifest.actions),
    )

  def ends(self, record: Record) -> Int[np.ndarray, "L"]:
    """How many events of a record were over at the request of each."""
    first, place = np.unique(
      request_numbers(record), return_index=True, return_inverse=True
    )[1:]
    return first[place]

  def targets(self, record: Record) -> Bool[np.ndarray, "L"]:
    """Which events of a record are asked for."""
    asked = self.feedback.asked(record) & (self.ends(record) > 0)
    if self.only_taken:
      asked &= self._done(record, self.taken)
    return asked

  def rows(
    self, record: Record, rng: np.random.Generator | None
  ) -> Int[np.ndarray, "L C"]:
    """The columns of all events of a record.

    Args:
      record: a user's history.
      rng: draws which of the skipped ones are negatives; None takes all.
    """
    percentile, watched = self.fitted.of(int(record["user"]))
    size = len(record["item"])
    percentile, watched = percentile[:size], watched[:size]
    taken = self._done(record, self.taken)
    refused = self._done(record, self.refused)
    # A play time that is not known is NaN, and below nothing.
    skipped = (watched < self.skip_below) & ~taken
    if rng is not None:
      skipped &= rng.random(size) < self.skip_share
    rows = np.zeros((size, len(_COLUMNS)), np.int32)
    rows[:, 0] = np.arange(size) - self.ends(record)
    rows[:, 1] = np.nan_to_num(percentile, nan=-1.0).view(np.int32)
    rows[:, 2] = np.nan_to_num(watched, nan=0.0).view(np.int32)
    rows[:, 3] = _TAKEN * taken + _REFUSED * (refused | skipped)
    rows[:, 3] += _TARGET * self.targets(record)
    return rows

  def facts(self, rows_BSC: Int[np.ndarray, "B S C"]) -> dict[str, np.ndarray]:
    """Columns of targets by name; of what is no target nothing is told."""
    there_BS = self.is_target(rows_BSC)
    taken_BS, refused_BS = (
      (rows_BSC[:, :, 3] & flag > 0) & there_BS for flag in (_TAKEN, _REFUSED)
    )
    percentile_BS, watched_BS = (
      np.ascontiguousarray(rows_BSC[:, :, i]).view(np.float32) for i in (1, 2)
    )
    return {
      "target_percentile_BS": np.where(there_BS, percentile_BS, -1.0).astype(
        np.float32
      ),
      "target_watched_BS": np.where(there_BS, watched_BS, 0.0).astype(
        np.float32
      ),
      "target_taken_BS": taken_BS.astype(np.int32),
      "target_refused_BS": refused_BS.astype(np.int32),
    }

  def beside(self, rows_BSC: Int[np.ndarray, "B S C"]) -> np.ndarray:
    """How many events right before each are of its own request."""
    return rows_BSC[:, :, 0]

  def is_target(
    self, rows_BSC: Int[np.ndarray, "B S C"]
  ) -> Bool[np.ndarray, "B S"]:
    """Whether an event is asked for, by its columns."""
    return rows_BSC[:, :, 3] & _TARGET > 0

  def _done(self, record: Record, actions: tuple[str, ...]):
    """Whether one of these actions was done, of every event."""
    tasks = self.feedback.tasks
    mask = sum(1 << tasks.index(action) for action in actions)
    return self.feedback.bits(record) & mask > 0
