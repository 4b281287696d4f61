# SPDX-License-Identifier: Apache-2.0
"""A trained model in use: titles in, titles out.

    import genrec_jax
    model = genrec_jax.load("WORKDIR")
    model.recommend(user="42")                    # or history=["50", "181"]

`load` reads WORKDIR/config.json, the prepared data beside it and the PARAMETERS
of the best-on-validation checkpoint, onto whatever devices there are. Answers
are Polars tables. Scores are the system's own (a cosine where it normalises, a
dot product where not): they order the items of one answer and mean no
probability. With `ranker` they are the values of a second stage. Serving knows
all events of a user, so the whole record is the history here, the targets of an
evaluation included.
"""

from collections.abc import Iterator, Sequence
import functools
import os
from typing import Any

import jax
from jaxtyping import Float
import numpy as np
import polars as pl

from genrec_jax.core import seams
from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.data.times import int32_seconds
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.serving.ranker import Ranker, load_ranker
from genrec_jax.serving.two_stage import TwoStage

_INT32 = np.iinfo(np.int32)


def load(
  workdir: str | os.PathLike,
  *,
  retriever: str | None = None,
  checkpoint: str = "best",
  ranker: str | os.PathLike | None = None,
  num_candidates: int = 100,
  weights: str = "",
) -> "Recommender":
  """Returns the recommender of a trained workdir.

  Args:
    workdir: a folder that scripts/train.py has filled.
    retriever: "brute_force" (exact, on the devices) or "scann" (approximate);
      None takes the config's, or else brute force.
    checkpoint: "best" on validation or the "latest", which is also taken, with
      a notice, where nothing was validated.
    ranker: another trained workdir, or the same, that orders what this one
      finds (serving/two_stage.py); its "best" or "latest" likewise.
    num_candidates: items that are found for it.
    weights: of the value that it orders by, such as "click=1,like=10".

  Raises:
    ValueError: no run, no checkpoint, one of another architecture, or a ranker
      that is none or of other data.
  """
  run = Run.open(workdir)
  params = load_params(run, checkpoint).params
  model = Recommender.of_run(run, params, retriever)
  if ranker is None:
    return model
  second = load_ranker(
    ranker, checkpoint=checkpoint, micro_batch=max(1, num_candidates)
  )
  return model.ranked_by(second, num_candidates, weights)


def _check_choice(what: str, value: str, choices: Any) -> None:
  if value not in choices:
    raise ValueError(
      f"{what}={value!r} is unknown; choices: {', '.join(choices)}"
    )


class Recommender:
  """Recommends items to users of a data set, or to a history of its items."""

  def __init__(
    self,
    search: Search,
    item_vectors: Float[np.ndarray, "V1 D"] | None,
    histories: Histories,
    *,
    batch_size: int,
  ):
    """Puts the parts together; `genrec_jax.load` does it for a workdir.

    Args:
      search: the ranker, of up to batch_size requests at a time.
      item_vectors: of every item index, for similar_items; None where the
        model has none.
      histories: the prepared data set the model was trained on.
      batch_size: requests that are scored together.
    """
    self.search = search
    self.histories = histories
    self.catalog = Catalog(histories.directory)
    self.users = Users(histories.directory)
    self.batch_size = batch_size
    self._item_vectors = item_vectors

  @classmethod
  def of_run(
    cls, run: Run, params: Any, retriever: str | None = None
  ) -> "Recommender":
    """Builds the index over a run's items, or what searches their codes."""
    if run.retrieval is None:
      seams.require(run.system, seams.QueryModel, "config.system")
    index = run.index(params, retriever)
    search = run.search(params, index)
    vectors = None
    if run.retrieval is None:
      vectors = jax.device_get(run.item_vectors(params))
    return cls(search, vectors, run.histories, batch_size=search.batch_size)

  def ranked_by(
    self, ranker: Ranker, num_candidates: int = 100, weights: str = ""
  ) -> "Recommender":
    """The same, with a second stage that orders what this one finds.

    Raises:
      ValueError: a ranker of other data, or weights that it cannot have.
    """
    search = TwoStage.of(
      self.search, self.histories, ranker, num_candidates, weights
    )
    return Recommender(
      search, self._item_vectors, self.histories, batch_size=self.batch_size
    )

  def recommend(
    self,
    user: object = None,
    history: Sequence[object] | None = None,
    k: int = 10,
    *,
    filter_history: bool = True,
    request_time: int | None = None,
  ) -> pl.DataFrame:
    """Returns item_id, title, score of the k best items, best first.

    Args:
      user: id of a user of the data set; or
      history: ids of the items of a history, oldest first.
      k: rows; fewer where the catalogue has fewer items left.
      filter_history: leave out items of the history.
      request_time: unix seconds at which is asked; default: the last event's
        time and the data set's median gap between events.

    Raises:
      ValueError: unknown id (names close ones), both or neither of user and
        history, or a request before the last event.
    """
    record = self.record(user, history)
    requests = self._requests([record], request_time)
    ids, scores = self._search(requests, k, filter_history)
    return self._table(ids[0], scores[0])

  def history(
    self, user: object = None, history: Sequence[object] | None = None
  ) -> pl.DataFrame:
    """Returns item_id, title and, where there are times, the time of a user's
    events (UTC; null = not known)."""
    record = self.record(user, history)
    columns = {
      "item_id": [self.catalog.ids[i] for i in record["item"]],
      "title": [self.catalog.titles[i] for i in record["item"]],
    }
    # Those of a list are made up.
    times = None if user is None else self.histories.times(record)
    if times is not None:
      columns["time"] = times
    return pl.DataFrame(columns)

  def similar_items(self, item_id: object, k: int = 10) -> pl.DataFrame:
    """Returns item_id, title, score of the k items of highest cosine."""
    if self._item_vectors is None:
      raise ValueError("this model generates items and has no item vectors")
    index = self.catalog.index_of(item_id)
    itself = [np.array([index])]
    allowed = ItemMask.all_but(itself, self.catalog.num_items)
    ids, scores, _ = self._neighbours.search(
      self._unit_vectors[index : index + 1], k, allowed
    )
    return self._table(np.asarray(ids)[0], np.asarray(scores)[0])

  def recommend_all(
    self, k: int = 10, *, filter_history: bool = True
  ) -> Iterator[pl.DataFrame]:
    """Yields user_id, rank (from 1), item_id, score, title of all users.

    One table per batch of users; users without events are left out.
    """
    for start in range(0, len(self.histories), self.batch_size):
      stop = min(start + self.batch_size, len(self.histories))
      records = [self.histories[user] for user in range(start, stop)]
      records = [record for record in records if len(record["item"])]
      if not records:
        continue
      requests = self._requests(records, None)
      ids, scores = self._search(requests, k, filter_history)
      row, place = np.nonzero(ids)
      found = ids[row, place]
      yield pl.DataFrame(
        {
          "user_id": [self.users.ids[u] for u in requests.user[row]],
          "rank": (place + 1).astype(np.int32),
          "item_id": [self.catalog.ids[i] for i in found],
          "score": scores[row, place],
          "title": [self.catalog.titles[i] for i in found],
        }
      )

  def record(
    self, user: object = None, history: Sequence[object] | None = None
  ) -> Record:
    """Returns the record of a user, or makes one of a list of item ids.

    Events of a list have no times: they are laid one median gap apart.
    """
    if (user is None) == (history is None):
      raise ValueError("give either a user or a history, and not both")
    if user is not None:
      record = self.histories[self.users.index_of(user)]
      if not len(record["item"]):
        raise ValueError(f"user {user!r} has no events to recommend from")
      return record
    if isinstance(history, str) or not history:
      raise ValueError(
        f"history={history!r} must be a list of one or more item ids"
      )
    items = [self.catalog.index_of(item_id) for item_id in history]
    return record_of_items(self.histories.manifest, items)

  def _requests(
    self, records: list[Record], request_time: int | None
  ) -> Requests:
    count = len(records)
    query_time = np.zeros(count, np.int32)
    if "time" in records[0]:
      last = np.array([r["time"][-1] for r in records], np.int64)
      query_time = self._query_time(records, last, request_time)
    elif request_time is not None:
      raise ValueError(
        "this data set has no event times, so its model has no use for a"
        " request time"
      )
    return Requests(
      user=np.array([r["user"] for r in records], np.int32),
      target=np.zeros(count, np.int32),
      history=records,
      query_time=query_time,
      event=np.array([len(r["item"]) for r in records], np.int32),
    )

  def _query_time(self, records, last, request_time: int | None):
    """Seconds since the epoch at which is asked, int32."""
    manifest = self.histories.manifest
    if request_time is None:
      return int32_seconds(
        last + (manifest.median_gap_seconds or 0), "the last event and a gap"
      )
    asked = request_time - (manifest.epoch_seconds or 0)
    for record, seconds in zip(records, last, strict=True):
      # A list of items has no times of its own to be later than.
      if record["user"] >= 0 and asked < seconds:
        raise ValueError(
          f"request_time={request_time} lies {seconds - asked} s before the"
          f" last event ({seconds + (manifest.epoch_seconds or 0)})"
        )
    if not _INT32.min <= asked <= _INT32.max:
      raise ValueError(
        f"request_time={request_time} must be unix SECONDS within 68 years of"
        f" the data set's first event ({manifest.epoch_seconds})"
      )
    shift = asked - last - (manifest.median_gap_seconds or 0)
    for record, seconds in zip(records, shift, strict=True):
      if record["user"] < 0:
        record["time"] = int32_seconds(
          record["time"].astype(np.int64) + seconds,
          f"a history that ends at request_time={request_time}",
        )
    return np.full(len(records), asked, np.int32)

  def _search(
    self, requests: Requests, k: int, filter_history: bool
  ) -> tuple[np.ndarray, np.ndarray]:
    if k < 1:
      raise ValueError(f"k={k} must be at least 1")
    allowed = None
    if filter_history:
      allowed = history_mask(requests, self.catalog.num_items)
    ids, scores, _ = self.search(
      requests, min(k, self.catalog.num_items), allowed
    )
    return ids, scores

  def _table(self, ids: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    found = ids > 0
    return pl.DataFrame(
      {
        "item_id": [self.catalog.ids[i] for i in ids[found]],
        "title": [self.catalog.titles[i] for i in ids[found]],
        "score": scores[found],
      }
    )

  @functools.cached_property
  def _unit_vectors(self) -> np.ndarray:
    norm = np.linalg.norm(self._item_vectors, axis=1, keepdims=True)
    return (self._item_vectors / np.maximum(norm, 1e-12)).astype(np.float32)

  @functools.cached_property
  def _neighbours(self) -> Any:
    return BruteForce.build(self._unit_vectors)
