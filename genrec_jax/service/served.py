# SPDX-License-Identifier: Apache-2.0
"""A trained model, compiled for a few sizes: batches of asks in, answers out.

    served.warm()                       compiles all that it will ever run
    served.answer(asks, "full")         one kind of ask, one step of the ladder

One thread at a time. What it answers at the full step is what `recommend` and
`rank` say offline of the same history: searches and stages are the same
objects, with another number of rows.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Int
import numpy as np

from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.item_lists import record_of_items
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.ranking.candidates import asked_about
from genrec_jax.ranking.stages import RankingStage, said_by_first, staged
from genrec_jax.service import ladder
from genrec_jax.service.asks import (
  ListAsk,
  Listed,
  RankAsk,
  Ranked,
  Reused,
  Scores,
)
from genrec_jax.service.history_cache import (
  NO_MODEL,
  HistoryCache,
  Reading,
)
from genrec_jax.service.live_history import latest
from genrec_jax.service.paged_search import warm_wider
from genrec_jax.service.resumption import Resumption
from genrec_jax.service.shapes import Shapes, at_least
from genrec_jax.serving.ranker import Ranker

# Events of the step short_history; the shortest row of a layout holds them.
_FEW_EVENTS = 16
# The step few_candidates has one in so many.
_FEWER = 4


class Served:
  """See the module docstring.

  Attributes:
    histories: the data set.
    catalog: its items.
    users: its users.
    filter_history: whether items of the history are left out, where a request
      does not say.
    two_stage: whether the ranker also orders what is found.
    codes: of items, by index, of a model that generates; None of others.
    popularity_V1: share of the items that are less popular, by index.
    shapes: sizes; the longest list is bounded by what the model can find.
    name: of the version.
  """

  def __init__(
    self,
    histories: Histories,
    searches: Mapping[int, Search],
    *,
    shapes: Shapes,
    filter_history: bool = True,
    ranker: Ranker | None = None,
    num_candidates: int | None = None,
    weights: str = "",
    between: Sequence[RankingStage] = (),
    codes: Int[np.ndarray, "V1 M"] | None = None,
    lists: Resumption | None = None,
    scores: Resumption | None = None,
    name: str = "model",
  ):
    """Puts the parts together; opening.py does it for a workdir.

    Args:
      histories: the data set that the model was trained on.
      searches: by the size of a batch; none for a ranker alone.
      shapes: as above.
      filter_history: as above.
      ranker: as above.
      num_candidates: items found for the ranker; None = it orders none.
      weights: of the value that it orders by; "" = its own.
      between: stages between the searches and the ranker, where it orders.
      codes, name: as above.
      lists: how a cache may have the searches' model go on; None = not at all.
      scores: likewise the ranker's.

    Raises:
      ValueError: a ranker of other data, weights that it cannot have, or a
        stage that is given more than the one before it passes on.
    """
    self.histories = histories
    self._num_items = histories.manifest.num_items
    self.catalog = Catalog(histories.directory)
    self.users = Users(histories.directory)
    self.filter_history = filter_history
    self.two_stage = ranker is not None and num_candidates is not None
    self.codes = codes
    # A longer list would be made of more candidates than one offline.
    most = num_candidates if self.two_stage else self._num_items
    self.shapes = shapes.bounded(min(most, self._num_items))
    self.name = name
    count = self.catalog.count
    self.popularity_V1 = (
      np.searchsorted(np.sort(count[1:]), count) / self._num_items
    )
    self._reading = Reading(dict(searches), ranker, lists, scores)
    self._popular = MostPopular(self.catalog.count).search
    self._num_candidates, self._weights = num_candidates or 0, weights
    self._between = tuple(between) if self.two_stage else ()
    if self.two_stage:
      # Refuses a ranker that does not fit.
      self._behind(self._popular)

  def keep(self, cache: HistoryCache) -> None:
    """Has what is computed of histories kept from now on."""
    self._reading = cache.open(self.name, self._reading)

  @property
  def ranker(self) -> Ranker | None:
    """Who ranks given items; None = the first stage does."""
    return self._reading.ranker

  @property
  def finds(self) -> bool:
    """Whether it finds items, or ranks given ones alone."""
    return len(self._reading.searches) > 0

  @property
  def catalogue(self) -> str:
    """Which version of the catalogue it knows."""
    return self.histories.manifest.fingerprint

  @property
  def max_batch(self) -> int:
    """Asks of a batch."""
    return self.shapes.batches[-1]

  def steps(self, ask: ListAsk | RankAsk) -> tuple[str, ...]:
    """Those of the ladder that an ask has."""
    if isinstance(ask, RankAsk):
      return (ladder.FULL, ladder.SHORT_HISTORY)
    if self.two_stage:
      return ladder.STEPS
    return (ladder.FULL, ladder.SHORT_HISTORY, ladder.POPULAR)

  def answer(
    self, asks: Sequence[ListAsk] | Sequence[RankAsk], step: str
  ) -> list[Listed] | list[Ranked]:
    """Answers of up to max_batch asks of one kind.

    Raises:
      NotFinite: a model whose queries or scores are no numbers.
    """
    if isinstance(asks[0], RankAsk):
      return [self._rank(ask, step) for ask in asks]
    return self._list(asks, step)

  def warm(self) -> None:
    """Compiles every program, by asking all that can be asked of shapes."""
    manifest = self.histories.manifest
    for events in self.shapes.histories:
      record = record_of_items(
        manifest, [1 + i % manifest.num_items for i in range(events)]
      )
      asks = self._asks_like(record)
      for ask in asks:
        for step in self.steps(ask):
          self.answer([ask], step)
      for size, search in self._reading.searches.items():
        requests = self._requests(asks[:1] * size)
        for count in self._counts():
          search(requests, count, self._everything(size))
        warm_wider(search, requests, self._everything(size))
    two = record_of_items(manifest, [1, 1 + 1 % manifest.num_items])
    self._reading.warm(self._requests(self._asks_like(two)[:1]))

  def _counts(self) -> list[int]:
    """How many items the first stage is asked for."""
    counts = {*self.shapes.lists}
    if self.two_stage:
      # Whoever stands behind the first stage asks it for the most.
      most = max(
        self._num_candidates, *(s.num_candidates for s in self._between), 1
      )
      for number in (most, max(1, most // _FEWER)):
        counts |= {max(size, number) for size in self.shapes.lists}
    return sorted({min(count, self._num_items) for count in counts})

  def _everything(self, rows: int) -> ItemMask:
    nothing = [np.zeros(0, np.int32)] * rows
    return ItemMask.all_but(nothing, self._num_items)

  def _asks_like(self, record: Record) -> list[ListAsk | RankAsk]:
    """One of every kind, behind a record."""
    everything = self._everything(1)
    time = int(record["time"][-1]) if "time" in record else 0
    found: list[ListAsk | RankAsk] = []
    if self.finds:
      found += [
        ListAsk(None, record, time, everything, places, by_model)
        for places in self.shapes.lists
        for by_model in (True, False)
      ]
    value = None if self.ranker is None else self.ranker.value_of("")
    one = np.ones(1, np.int32)
    if self.ranker is not None or self.finds:
      found.append(RankAsk(None, record, time, one, True, value))
    return found

  def _requests(
    self, asks: Sequence[ListAsk | RankAsk], step: str = ladder.FULL
  ) -> Requests:
    """As a search takes them."""
    records = [_read(ask.record, step) for ask in asks]
    return Requests(
      user=np.array([r["user"] for r in records], np.int32),
      target=np.zeros(len(asks), np.int32),
      history=records,
      query_time=np.array([ask.query_time for ask in asks], np.int32),
      event=np.array([len(r["item"]) for r in records], np.int32),
      key=tuple(_whose(ask, step) for ask in asks),
    )

  def _list(self, asks: Sequence[ListAsk], step: str) -> list[Listed]:
    requests = self._requests(asks, step)
    words = np.concatenate([ask.allowed.words_BW for ask in asks])
    allowed = ItemMask(words, self._num_items)
    search = self._search(step, len(asks), asks[0].by_model)
    ids_BK, scores_BK, said = search(requests, asks[0].places, allowed)
    chances = None
    if self.two_stage and step not in (ladder.RETRIEVAL_ONLY, ladder.POPULAR):
      chances = said["probabilities"]
      said = said_by_first(said, 1 + len(self._between))
    reused = said.get("reused")
    if reused is None:
      asked = asks[0].by_model and step != ladder.POPULAR
      why = self._reading.why if asked else NO_MODEL
      reused = [Reused(0, len(ask.record["item"]), why) for ask in asks]
    found = []
    for row, one in enumerate(reused):
      there_K = ids_BK[row] > 0
      good_K = there_K & np.isfinite(scores_BK[row])
      found.append(
        Listed(
          np.asarray(ids_BK[row][good_K], np.int32),
          np.asarray(scores_BK[row][good_K], np.float32),
          None if chances is None else chances[row][good_K],
          int((there_K & ~good_K).sum()),
          one,
        )
      )
    return found

  def _search(self, step: str, count: int, by_model: bool) -> Search:
    """Who answers so many at a step."""
    if step == ladder.POPULAR:
      return self._popular
    first = self._popular
    if by_model:
      first = self._reading.searches[at_least(self.shapes.batches, count)]
    if not self.two_stage or step == ladder.RETRIEVAL_ONLY:
      return first
    return self._behind(first, _FEWER if step == ladder.FEW_CANDIDATES else 1)

  def _behind(self, first: Search, share: int = 1) -> Search:
    """All stages behind the first one, with one of so many candidates."""
    last = RankingStage(self.ranker, self._num_candidates, self._weights)
    stages = [stage.fewer(share) for stage in (*self._between, last)]
    return staged(first, self.histories, stages)

  def _rank(self, ask: RankAsk, step: str) -> Ranked:
    score, reused = self._scores(
      ask, _read(ask.record, step), _whose(ask, step)
    )
    scores = [score]
    if ask.changed is not None:
      # What would be is nobody's history.
      scores += self._scores(ask, _read(ask.changed, step), None)[:1]
    lost = sum(int((~np.isfinite(s.values_N)).sum()) for s in scores)
    return Ranked(
      scores[0],
      scores[1] if len(scores) > 1 else None,
      lost if self.ranker is not None else 0,
      reused,
    )

  def _scores(
    self, ask: RankAsk, record: Record, key: str | None
  ) -> tuple[Scores, Reused]:
    """By the ranker, or else by the search among the candidates alone; and what
    was reused of the history, which is `key`'s."""
    if self.ranker is not None:
      request = asked_about(
        record, ask.candidates_N, ask.query_time, self._num_items
      )
      found_NT = self.ranker.scorer.score(request, finite_only=False, key=key)
      reused = Reused(0, len(record["item"]), self._reading.why)
      if self._reading.scored is not None:
        reused = self._reading.scored()
      return Scores(ask.value(found_NT), found_NT), reused
    allowed_V1 = np.zeros(self._num_items + 1, bool)
    allowed_V1[ask.candidates_N] = True
    places = at_least(self.shapes.lists, len(ask.candidates_N))
    mine = ListAsk(
      key,
      record,
      ask.query_time,
      ItemMask.of(allowed_V1[None]),
      places,
      ask.by_model,
    )
    (listed,) = self._list([mine], ladder.FULL)
    score_V1 = np.full(self._num_items + 1, np.nan, np.float32)
    score_V1[listed.ids_K] = listed.scores_K
    return Scores(score_V1[ask.candidates_N]), listed.reused


def _read(record: Record, step: str) -> Record:
  """The part of a history that a step reads."""
  return record if step == ladder.FULL else latest(record, _FEW_EVENTS)


def _whose(ask: ListAsk | RankAsk, step: str) -> str | None:
  """Whose history is read; a part of one is nobody's, so that it takes no
  pages from the whole."""
  return ask.user if step == ladder.FULL else None
