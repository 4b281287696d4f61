# SPDX-License-Identifier: Apache-2.0
"""Item-kNN that knows, at each request, only what had happened before.

    cuts c_1 < c_2 < ... < c_S      moments with as many training events between
    model_s                         ItemKNN of the training events before c_s
    asked at t                      the last model with c_s <= t

The plain one (item_knn.py) counts the whole training part, the very events that
a training request is to find among them: what it returns there is hindsight. A
request before the first cut gets nothing. c_S lies just behind the training
part, for requests after it. All users are read S times, and S tables of
similarities are held.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.dataset.training_events import training_events
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record

_NEVER = int(np.iinfo(np.int32).min)


@dataclasses.dataclass(frozen=True)
class _EndingBefore:
  """The split of a data set whose training part ends at a moment."""

  split: Any
  cut: int

  def train_end(self, record: Record) -> int:
    before = int(np.searchsorted(record["time"], self.cut))
    return min(before, self.split.train_end(record))


class _Before:
  """A data set as it was at a moment."""

  def __init__(self, histories: Histories, cut: int):
    self.manifest = histories.manifest
    self.split = _EndingBefore(histories.split, cut)
    self._histories = histories

  def __len__(self) -> int:
    return len(self._histories)

  def __getitem__(self, user: int) -> Record:
    return self._histories[user]


@dataclasses.dataclass(frozen=True)
class ItemKNNInTime:
  """See the module docstring.

  Attributes:
    cuts: seconds since the data set's epoch, ascending.
    untils: time of the latest event that each model has counted.
    models: of each cut.
  """

  cuts: Int[np.ndarray, "S"]
  untils: Int[np.ndarray, "S"]
  models: Sequence[ItemKNN]

  @classmethod
  def build(
    cls, histories: Histories, *, snapshots: int = 12, **options: Any
  ) -> "ItemKNNInTime":
    """Counts the training part as it was at `snapshots` moments, at most.

    Args:
      histories: a prepared data set.
      snapshots: S; fewer where several fall on one moment.
      **options: of ItemKNN.build.

    Raises:
      ValueError: no times, no events, or snapshots below 1.
    """
    if snapshots < 1:
      raise ValueError(f"snapshots={snapshots} must be at least 1.")
    times = np.sort(training_events(histories)[0]).astype(np.int64)
    if not len(times):
      raise ValueError("no event is in the training part: nothing is similar.")
    places = len(times) * np.arange(1, snapshots) // snapshots
    cuts = np.unique(np.append(times[places], times[-1] + 1))
    # Before the very first event there is nothing to count.
    cuts = cuts[cuts > times[0]]
    untils = times[np.searchsorted(times, cuts) - 1]
    models = [
      ItemKNN.build(_Before(histories, int(cut)), **options) for cut in cuts
    ]
    return cls(cuts, untils, models)

  def search(
    self, query: Requests, k: int, allowed: ItemMask | None = None
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Ids and scores of the k best allowed items per request, and {}.

    Places beyond the items that are like the history hold id 0 and -inf.
    """
    ids = np.zeros((len(query), k), np.int32)
    scores = np.full((len(query), k), -np.inf, np.float32)
    model_B = self._of(query)
    for number in np.unique(model_B[model_B >= 0]):
      rows = np.flatnonzero(model_B == number)
      mask = None if allowed is None else allowed[rows]
      found, score, _ = self.models[number].search(
        requests_at(query, rows), k, mask
      )
      like = score > 0
      ids[rows] = np.where(like, found, 0)
      scores[rows] = np.where(like, score, -np.inf)
    return ids, scores, {}

  def until(self, query: Requests) -> Int[np.ndarray, "B"]:
    """Time of the latest event that each request's model has counted.

    The smallest int32 where there is no model yet.
    """
    model_B = self._of(query)
    found = self.untils[np.maximum(model_B, 0)]
    return np.where(model_B < 0, _NEVER, found).astype(np.int32)

  def _of(self, query: Requests) -> Int[np.ndarray, "B"]:
    """Number of each request's model; -1 = none yet."""
    return np.searchsorted(self.cuts, query.query_time, side="right") - 1
