# SPDX-License-Identifier: Apache-2.0
"""A trained model in use: titles in, titles out.

    import genrec_jax
    model = genrec_jax.load("WORKDIR")
    model.recommend(user="42")                    # or history=["50", "181"]

Answers are Polars tables. Scores are the system's own (a cosine where it
normalises, a dot product where not): they order the items of one answer and
mean no probability. With `ranker` they are the values of a second stage.
Serving knows all events of a user, so the whole record is the history here, the
targets of an evaluation included.
"""

from collections.abc import Iterator
import dataclasses
import functools
from typing import Any
import warnings

import jax
from jaxtyping import Float
import numpy as np
import polars as pl

from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.core import seams
from genrec_jax.core.seams import Search
from genrec_jax.core.suggest import short
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests, iter_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.evaluation.full_ranking import asked_at_last_event
from genrec_jax.experiment.experiment import Run
from genrec_jax.ranking.list_stage import ListStage
from genrec_jax.serving import arguments
from genrec_jax.serving.answering import Answering
from genrec_jax.serving.asking import Asking
from genrec_jax.serving.everyone import Everyone, ahead
from genrec_jax.serving.found import Found, Shortage
from genrec_jax.serving.item_filter import ItemFilter
from genrec_jax.serving.neighbours import Neighbours
from genrec_jax.serving.ranker import Ranker
from genrec_jax.serving.trained import Trained


class Recommender:
  """Recommends items to users of a data set, or to a history of its items.

  Attributes:
    trained: the run behind it; None where it was put together by hand, of
      several searches or behind a second stage.
    filter_history: whether items of the history are left out, where a call
      does not say: as the run's evaluation has it.
    asked_at_last_event: whether what is asked as of an evaluation is asked a
      median gap after the last event: as the run's evaluation has it.
  """

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
    self.trained: Trained | None = None
    self.filter_history = True
    self.asked_at_last_event = False
    self._asking = Asking(histories, self.catalog, self.users)
    popular = MostPopular(self.catalog.count).search
    self._answering = Answering(search, popular, self.catalog, self.users)
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

  def searched_by(self, search: Search) -> "Recommender":
    """The same with another search, which may ask this one's and others."""
    other = Recommender(
      search, self._item_vectors, self.histories, batch_size=self.batch_size
    )
    other.filter_history = self.filter_history
    other.asked_at_last_event = self.asked_at_last_event
    return other

  def ranked_by(
    self,
    ranker: Ranker,
    num_candidates: int = 100,
    weights: Any = "",
    assume: Any = "",
  ) -> "Recommender":
    """The same, with a second stage that orders what this one finds.

    Args:
      ranker: the second stage.
      num_candidates: items that are found for it.
      weights: of the value that it orders by.
      assume: what it assumes of an item that it has placed, to choose the next
        one behind it (ranking/list_stage.py); "" = it orders by value.

    Raises:
      ValueError: a ranker of other data, weights that it cannot have, or one
        that makes no lists where something is to be assumed.
    """
    first = self._answering
    asked = (self.histories, ranker, num_candidates, weights)
    stages = [
      ListStage.ruled(assume, search, *asked)
      for search in (first.search, first.popular)
    ]
    both = self.searched_by(stages[0])
    both._answering = dataclasses.replace(both._answering, popular=stages[1])
    both._asking = dataclasses.replace(
      both._asking, values_as_actions=ranker.takes_values, at_the_end=True
    )
    return both

  def recommend(
    self,
    user: object = None,
    history: object = None,
    k: Any = 10,
    *,
    histories: Any = None,
    allow: Any = None,
    deny: Any = (),
    where: Any = None,
    filter_history: Any = None,
    request_time: Any = None,
    strict: Any = False,
  ) -> pl.DataFrame:
    """Returns item_id, title, score and source of the k best, best first.

    The source is "model", or "popular" where nothing is known of whom is asked
    for: an unknown user, an empty history, or one of unknown items alone. These
    get the most popular items, and the score is a count of events, or the value
    by which a ranker orders them.

    Args:
      user: id of a user of the data set.
      history: in place of the user's events, or of nobody known: ids of items,
        oldest first, or a table with item_id and, where known, action, value
        and time (serving/given_history.py). Unknown items are skipped, with a
        warning.
      k: rows; fewer where fewer items are left, with a warning that says why.
      histories: several at once; the answer has columns history (its number,
        from 0) and rank besides.
      allow: ids of the items that may be recommended, in whatever can be
        iterated over; None = all.
      deny: ids of items that may not, likewise.
      where: attribute of the items -> a value or several, one of which an item
        must have (serving/item_filter.py).
      filter_history: leave out items of the history; None = as the run is
        evaluated.
      request_time: unix seconds at which is asked; default: the last event's
        time and the data set's median gap between events.
      strict: an unknown user, an unknown item or an empty history is an error.

    Raises:
      ValueError: neither user nor history nor histories, or the last beside
        others; a request before the last event; a filter that leaves nothing;
        with `strict` what it says.
    """
    one = histories is None
    if one == (user is None and history is None):
      raise ValueError("give user, history or both, or histories alone")
    k, asked = self._at_most(k), k
    arguments.truth("strict", strict)
    wanted = self._wanted(allow, deny, where)
    if request_time is not None:
      request_time = arguments.whole("request_time", request_time)
    if not one:
      histories = arguments.in_order("histories", histories, "histories")
    records = [
      self._asking.record(user, items, strict=strict, request_time=request_time)
      for items in ([history] if one else histories)
    ]
    found = []
    for start in range(0, len(records), self.batch_size):
      batch = records[start : start + self.batch_size]
      requests = self._asking.requests(batch, request_time)
      found.append(self._found(requests, k, filter_history, wanted))
    if not found:
      raise ValueError("histories is empty: there is nobody to recommend to")
    whole = Found.of(found)
    self._say_why(whole.shortage(asked, self._left(wanted)))
    if one:
      return whole.one(self.catalog)
    table, number = whole.table(self.catalog)
    return table.insert_column(0, pl.Series("history", number))

  def history(
    self,
    user: object = None,
    history: object = None,
    *,
    strict: Any = False,
  ) -> pl.DataFrame:
    """Returns item_id, title and, where there are times, the time of a user's
    events (UTC; null = not known). Arguments as in `recommend`."""
    arguments.truth("strict", strict)
    record = self._asking.record(user, history, strict=strict)
    columns = {
      "item_id": [self.catalog.ids[i] for i in record["item"]],
      "title": [self.catalog.titles[i] for i in record["item"]],
    }
    # Those of a list are made up.
    times = None if history is not None else self.histories.times(record)
    if times is not None:
      columns["time"] = times
    return pl.DataFrame(columns)

  def similar_items(self, item_id: object, k: Any = 10) -> pl.DataFrame:
    """Returns item_id, title, score of the k items of highest cosine.

    Where there are fewer others, it is warned.
    """
    if self._item_vectors is None:
      raise ValueError("this model generates items and has no item vectors")
    item, num_items = self.catalog.index_of(item_id), self.catalog.num_items
    found = self._neighbours.of(item, self._at_most(k))
    if k >= num_items:
      warnings.warn(
        f"{num_items - 1:,} of k={k:,} items: the catalogue has {num_items:,}"
        " items, the one asked about among them.",
        stacklevel=2,
      )
    return found.one(self.catalog).drop("source")

  def recommend_all(
    self,
    k: Any = 10,
    *,
    as_of: Any = None,
    allow: Any = None,
    deny: Any = (),
    where: Any = None,
    filter_history: Any = None,
    titles: bool = True,
  ) -> Iterator[pl.DataFrame]:
    """Yields user_id, rank (from 1), item_id, score, title, source of everyone.

    A table is of some of the users, in their order.

    Args:
      k: rows of a user; fewer where fewer items are left.
      as_of: "validation" or "test": what an evaluation of that part asks for,
        with the histories and times that it shows, so that the lists can be
        scored. Columns event (place of what was withheld in the user's record)
        and withheld_item_id are added; a user has a list for each.
      allow, deny, where, filter_history: as in `recommend`.
      titles: have the column title.
    """
    k, places = self._at_most(k), k
    wanted = self._wanted(allow, deny, where)
    shortage = Shortage(places, self._left(wanted))
    arguments.switch("filter_history", filter_history)
    if as_of not in (None, "validation", "test"):
      raise ValueError(
        f"as_of={short(as_of)} must be 'validation', 'test' or None"
      )
    asked = (k, filter_history, wanted)
    lists = (
      self._of_all(*asked) if as_of is None else self._as_of(as_of, *asked)
    )
    return self._tables(lists, shortage, titles, withheld=as_of is not None)

  def _of_all(self, *asked: Any) -> Iterator[tuple[Requests, Found]]:
    """What everyone is asked now, and is told."""
    return iter(
      Everyone(
        self.histories,
        self._asking.requests,
        lambda requests: self._found(requests, *asked),
        self.batch_size,
      )
    )

  def _as_of(self, part: str, *asked: Any) -> Iterator[tuple[Requests, Found]]:
    """What an evaluation of a part asks, and is told."""
    gap = self.histories.manifest.median_gap_seconds or 0
    for requests in iter_requests(self.histories, part, self.batch_size):
      if self.asked_at_last_event:
        requests = asked_at_last_event(requests, gap)
      yield requests, self._found(requests, *asked, always=True)

  def _tables(
    self,
    lists: Iterator[tuple[Requests, Found]],
    shortage: Shortage,
    titles: bool,
    withheld: bool,
  ) -> Iterator[pl.DataFrame]:
    for requests, found in ahead(lists):
      shortage += found.shortage(shortage.k, shortage.num_wanted)
      table, row = self._answering.of_users(requests, found, titles)
      if withheld:
        target = self.catalog.id_column.gather(requests.target[row])
        table = table.with_columns(
          event=pl.Series(requests.event[row]), withheld_item_id=target
        )
      yield table
    self._say_why(shortage)

  def evaluate(self) -> pl.DataFrame:
    """Returns part, method and metrics of the model and its baselines.

    It is what genrec evaluate measures of finding the next item, and is
    written to WORKDIR/evaluation.json with all else that config.evals names.

    Raises:
      ValueError: no run stands behind this recommender.
    """
    return self._behind("evaluate").evaluate()

  def save(self, directory: Any) -> None:
    """Copies the run to a new folder, from which `genrec_jax.load` reads it.

    Raises:
      ValueError: the folder is there, or no run stands behind this.
    """
    self._behind("save").save(arguments.path("directory", directory))

  def _behind(self, what: str) -> Trained:
    if self.trained is None:
      raise ValueError(
        f"{what} needs the run that this recommender comes from: get it by"
        " genrec_jax.load(workdir) or genrec_jax.fit, without a ranker."
      )
    return self.trained

  def record(self, user: object = None, history: object = None) -> Record:
    """The record of a user, or of a history (serving/asking.py).

    Raises:
      ValueError: an unknown id, or no events.
    """
    return self._asking.record(user, history, strict=True)

  def _say_why(self, shortage: Shortage) -> None:
    """Warns of lists with fewer items than were asked for."""
    why = shortage.why(self.catalog.num_items)
    if why:
      warnings.warn(why, stacklevel=3)

  def _left(self, wanted: ItemMask | None) -> int:
    """Items of the catalogue that a filter leaves."""
    return self.catalog.num_items if wanted is None else int(wanted.count()[0])

  def _at_most(self, k: Any) -> int:
    return min(arguments.whole("k", k, least=1), self.catalog.num_items)

  def _wanted(self, *lists: Any) -> ItemMask | None:
    """One row of what a filter allows; None where it asks for nothing."""
    allow, deny, where = lists
    wanted = ItemFilter(allow, deny, {} if where is None else where)
    return ItemMask.of(wanted.of(self.catalog)[None, :]) if wanted else None

  def _found(
    self,
    requests: Requests,
    k: int,
    filter_history: Any,
    wanted: ItemMask | None,
    always: bool = False,
  ) -> Found:
    if arguments.switch("filter_history", filter_history) is None:
      filter_history = self.filter_history
    return self._answering.found(requests, k, filter_history, wanted, always)

  @functools.cached_property
  def _neighbours(self) -> Neighbours:
    return Neighbours(self._item_vectors)
