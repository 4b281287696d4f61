# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of the input pipeline alone.

On simulated histories of one length, or on a prepared data set.
"""

import time
from typing import Any

import numpy as np

from genrec_jax.data import splits
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.experiment.options import PipelineOptions

EPOCH_SECONDS = 90 * 24 * 3600
_WARM_UP = 5


class SimulatedHistories:
  """Random histories of one length, in memory.

  Args:
    users: how many.
    events: of each.
    num_items: V.
    num_actions: A; every event has one of the actions 1 .. A - 1. 0 = none.
  """

  def __init__(
    self, users: int, events: int, num_items: int, num_actions: int = 0
  ):
    rng = np.random.default_rng(0)
    shape = (users, events)
    self._items = rng.integers(1, num_items + 1, shape, np.int32)
    times = rng.integers(0, EPOCH_SECONDS, shape, np.int32)
    self._times = np.sort(times, axis=1)
    self._actions = None
    if num_actions:
      self._actions = rng.integers(1, num_actions, shape, np.int32)
    self.split = splits.LeaveOneOut()

  def __len__(self) -> int:
    return len(self._items)

  def __getitem__(self, user: int) -> dict[str, np.ndarray]:
    record = {
      "user": np.array(user, np.int32),
      "item": self._items[user],
      "time": self._times[user],
    }
    if self._actions is not None:
      record["action"] = self._actions[user]
    return record


def time_pipeline(
  options: PipelineOptions, histories: HistorySource, batches: int
) -> dict[str, Any]:
  """Tokens per second over a number of batches, and how full rows are."""
  stream = training_batches(
    histories,
    options.layout,
    batch_size=options.batch_size,
    row_length=options.row_length,
    seed=0,
  )
  for _ in range(_WARM_UP):
    next(stream)
  started = time.perf_counter()
  tokens = slots = 0
  for _ in range(batches):
    segments = next(stream)["segment_ids_BL"]
    tokens += int(np.count_nonzero(segments))
    slots += segments.size
  seconds = time.perf_counter() - started
  stream.close()
  return {
    "tokens_per_second": round(tokens / seconds),
    "fill": round(tokens / slots, 4),
    "seconds_per_batch": round(seconds / batches, 5),
  }
