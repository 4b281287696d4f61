# SPDX-License-Identifier: Apache-2.0
"""Retrievers whose lists a run may be trained with: config.lists.retrievers.

ItemKnnLists   item-kNN, counted anew over time       baselines/
PopularLists   what was popular in the last days      baselines/
RunLists       a trained run, of the same data
TableLists     a table of ids                         table_lists.py
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.baselines.item_knn_in_time import ItemKNNInTime
from genrec_jax.baselines.recently_popular import RecentlyPopular
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.retriever_lists import UNKNOWN
from genrec_jax.data.dataset.training_events import training_events
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.made_lists import Retriever, Returned
from genrec_jax.experiment.restored import check_finished, load_params

_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class ItemKnnLists:
  """Item-kNN as it was at each request (baselines/item_knn_in_time.py).

  Attributes:
    snapshots: how often it is counted anew over the training part.
    neighbours, window, decay, shrinkage: of item-kNN.
  """

  snapshots: int = 12
  neighbours: int = 100
  window: int = 10
  decay: float = 0.9
  shrinkage: float = 0.0

  def open(self, histories: Histories) -> Retriever:
    """Counts; ValueError for data without times."""
    options = dataclasses.asdict(self)
    found = ItemKNNInTime.build(histories, **options)
    return Retriever(_asking(found.search, found.until))


@dataclasses.dataclass(frozen=True)
class PopularLists:
  """What was popular just before each request (baselines/recently_popular.py).

  Attributes:
    window_days: days that count.
    step_seconds: windows end at multiples of it.
  """

  window_days: int = 30
  step_seconds: int = _DAY

  def open(self, histories: Histories) -> Retriever:
    """Counts; ValueError for data without times."""
    found = RecentlyPopular.build(
      histories,
      window_seconds=self.window_days * _DAY,
      step_seconds=self.step_seconds,
    )
    return Retriever(_asking(found.search, found.until))


@dataclasses.dataclass(frozen=True)
class RunLists:
  """A trained run of the same data, whose training part it knows as a whole.

  Attributes:
    workdir: of the run.
    checkpoint: "best" or "latest".
  """

  workdir: str
  checkpoint: str = "best"

  def open(self, histories: Histories) -> Retriever:
    """Loads the run.

    Raises:
      ValueError: a run without a checkpoint, or one that is not finished where
        its best one is asked for.
    """
    run = Run.open(self.workdir)
    if self.checkpoint == "best":
      check_finished(run)
    loaded = load_params(run, self.checkpoint)
    facts = {
      "run": run.name,
      "checkpoint": loaded.checkpoint,
      "step": int(loaded.step),
      "fingerprint": run.histories.manifest.fingerprint,
    }
    last = UNKNOWN
    if "time" in run.histories.manifest.fields:
      last = int(training_events(run.histories)[0].max())

    def until(requests: Requests) -> Int[np.ndarray, "B"]:
      return np.full(len(requests), last, np.int32)

    return Retriever(_asking(run.search(loaded.params), until), facts)


def _asking(search: Callable[..., Any], until: Callable[[Requests], Any]):
  """The question of a retriever that scores all items."""

  def ask(requests: Requests, k: int) -> Returned:
    ids, scores, _ = search(requests, k, None)
    found = np.asarray(scores) > -np.inf
    return Returned(np.where(found, np.asarray(ids), 0), until(requests))

  return ask
