# SPDX-License-Identifier: Apache-2.0
"""A trained ranker in use: a user and items in, probabilities of actions out.

    import genrec_jax
    ranker = genrec_jax.load_ranker("WORKDIR")
    ranker.rank(["50", "181"], user="42", weights="click=1,like=10")

`load_ranker` reads WORKDIR/config.json, the prepared data beside it and the
parameters of the best-on-validation checkpoint. Answers are Polars tables, best
first. Serving knows all events of a user, so the whole record is the history
here, those that an evaluation asks about included.
"""

from collections.abc import Sequence
import os
from typing import Any

import numpy as np
import polars as pl

from genrec_jax.data.catalog import Catalog, Users
from genrec_jax.data.histories import Histories
from genrec_jax.data.schema import Record
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.ranking.value import ValueFunction
from genrec_jax.train.evaluate import int32_seconds
from genrec_jax.train.restored import load_params
from genrec_jax.train.run import Run
from genrec_jax.train.validation import FullRanking


def load_ranker(
  workdir: str | os.PathLike,
  *,
  checkpoint: str = "best",
  micro_batch: int = 256,
) -> "Ranker":
  """Returns the ranker of a trained workdir.

  Args:
    workdir: a folder that scripts/train.py has filled.
    checkpoint: "best" on validation or the "latest".
    micro_batch: candidates that are scored at a time.

  Raises:
    ValueError: no run, no checkpoint, or a model that is no ranker.
  """
  run = Run.open(workdir)
  if isinstance(run.validator, FullRanking):
    raise ValueError(
      f"{workdir} is no ranker: {run.name} is trained to find items"
      " (scripts/recommend.py --workdir), and says of none what a user would"
      " do with it."
    )
  layout = run.pipeline.layout
  params = load_params(run, checkpoint).params
  scorer = CandidateScorer.of(run.system, params, layout, micro_batch)
  return Ranker(scorer, layout.feedback.tasks, run.histories)


class Ranker:
  """Ranks given items for users of a data set, or for nobody known."""

  def __init__(
    self,
    scorer: CandidateScorer,
    tasks: Sequence[str],
    histories: Histories,
  ):
    """Puts the parts together; `load_ranker` does it for a workdir."""
    self.scorer = scorer
    self.tasks = tuple(tasks)
    self.histories = histories
    self.catalog = Catalog(histories.directory)
    self.users = Users(histories.directory)

  def rank(
    self,
    candidates: Sequence[object],
    user: object = None,
    *,
    weights: str = "",
    request_time: int | None = None,
  ) -> pl.DataFrame:
    """Returns item_id, title, value and a probability per task, best first.

    Args:
      candidates: ids of items.
      user: id of a user; None = one without history.
      weights: of the value, such as "click=1,like=10" (ranking/value.py).
      request_time: unix seconds at which is asked; default: the last event's
        time and the data set's median gap between events.

    Raises:
      ValueError: an unknown id (names close ones) or task, no candidates, or
        a request before the user's last event.
    """
    value = ValueFunction.of(self.tasks, weights)
    if isinstance(candidates, str):
      raise ValueError(f"candidates={candidates!r} must be a list of item ids.")
    index_N = np.array([self.catalog.index_of(i) for i in candidates], np.int32)
    record = self.record(user)
    request = asked_about(
      record,
      index_N,
      self._query_time(record, request_time),
      self.catalog.num_items,
    )
    found_NT = self.scorer.score(request)
    values_N = value(found_NT)
    best_N = np.argsort(-values_N, kind="stable")
    columns: dict[str, Any] = {
      "item_id": [self.catalog.ids[i] for i in index_N[best_N]],
      "title": [self.catalog.titles[i] for i in index_N[best_N]],
      "value": values_N[best_N],
    }
    for t, task in enumerate(self.tasks):
      columns[task] = found_NT[best_N, t]
    return pl.DataFrame(columns)

  def record(self, user: object = None) -> Record:
    """Returns the record of a user; without events for None."""
    if user is not None:
      return self.histories[self.users.index_of(user)]
    nothing = {
      name: np.zeros(0, dtype)
      for name, dtype in self.histories.manifest.fields.items()
    }
    return {"user": np.array(-1, np.int32), **nothing}

  def _query_time(self, record: Record, request_time: int | None) -> int:
    """Seconds since the epoch at which is asked."""
    manifest = self.histories.manifest
    if "time" not in record:
      if request_time is not None:
        raise ValueError(
          "this data set has no event times, so its model has no use for a"
          " request time."
        )
      return 0
    if request_time is None:
      last = int(record["time"][-1]) if len(record["time"]) else 0
      asked = last + (manifest.median_gap_seconds or 0)
    else:
      asked = request_time - (manifest.epoch_seconds or 0)
    what = f"request_time={request_time} (unix seconds; default: a gap later)"
    return int(int32_seconds(np.array([asked], np.int64), what)[0])
