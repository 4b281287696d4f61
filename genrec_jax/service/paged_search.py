# SPDX-License-Identifier: Apache-2.0
"""A search, and a ranker's scorer, of a model that goes on with histories.

    search(requests, k, allowed)     ids, scores, {..., "reused": one a request}

Both are behind the seam of what they take the place of. A batch is asked in up
to two parts a turn, those that are read anew and those that go on; who is asked
beside whom changes nothing of a list but its rounding.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.retrieval.generative import Generative
from genrec_jax.retrieval.model_search import ModelSearch
from genrec_jax.service.asks import Reused
from genrec_jax.service.paged_reader import Group, PagedReader
from genrec_jax.service.resumption import Arrays, Resumption, as_started


@dataclasses.dataclass(frozen=True)
class PagedSearch:
  """See the module docstring; the instance itself is the search.

  Attributes:
    searches: by the number of rows.
    resumption: of their model.
    reader: of it.
  """

  searches: Mapping[int, ModelSearch | Generative]
  resumption: Resumption
  reader: PagedReader

  def __call__(
    self, requests: Requests, k: int, allowed: ItemMask | None = None
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Ids (B, k) and scores (B, k), what else the search says, and what was
    reused.

    Raises:
      NotFinite: queries or scores are no numbers; nothing of it is kept.
    """
    parts, rows = [], []

    def answer(group: Group) -> None:
      mask = None if allowed is None else allowed[group.rows]
      some = requests_at(requests, group.rows)
      parts.append(self._of(group)(some, k, mask))
      rows.append(group.rows)

    keys = requests.key or (None,) * len(requests)
    batch = self.resumption.rows(requests)
    reused = self.reader.over(batch, keys, answer)
    order = np.argsort(np.concatenate(rows))

    def together(arrays):
      return np.concatenate([np.asarray(x) for x in arrays])[order]

    ids, scores, said = zip(*parts, strict=True)
    found = {name: together([x[name] for x in said]) for name in said[0]}
    return together(ids), together(scores), {**found, "reused": reused}

  def warm(self, requests: Requests) -> None:
    """Compiles every program; the request has a history of two events."""
    num_items = self.resumption.loaded.system.num_items
    everything = ItemMask.all_but([np.zeros(0, np.int32)], num_items)
    for group in self.reader.dummies(self.resumption.rows(requests)):
      search = self._of(group)
      search(requests, 1, everything)
      warm_wider(search, requests, everything.padded(group.size))

  def _of(self, group: Group) -> ModelSearch | Generative:
    search = self.searches[group.size]
    return self.resumption.bind(search, group.arrays, self.reader.run)


class PagedScores:
  """What a scorer keeps of a history (CandidateScorer.kept_fn), from pages.

  Attributes:
    reused: of the history that was read last.
  """

  def __init__(self, reader: PagedReader):
    self._reader, self.reused = reader, Reused()

  def __call__(self, history: Arrays, key: str | None) -> Any:
    """The model's `start` of one row."""
    found = []

    def answer(group: Group) -> None:
      found.append(self._reader.run(as_started, group.arrays))

    (self.reused,) = self._reader.over(history, (key,), answer)
    return found[0]

  def warm(self, scorer: CandidateScorer, requests: Requests) -> None:
    """Compiles every program, of the scorer's too; see PagedSearch."""
    num_items = scorer.loaded.system.num_items
    request = asked_about(
      requests.history[0],
      np.ones(1, np.int32),
      int(requests.query_time[0]),
      num_items,
    )
    batch = scorer.layout.impression_batch(scorer.padded(request))
    history, asked = scorer.layout.apart(batch)
    for group in self._reader.dummies(history):
      kept = self._reader.run(as_started, group.arrays)
      scorer.candidates_fn(kept, asked)


def warm_wider(search: Any, requests: Requests, allowed: ItemMask) -> None:
  """Compiles what a search by codes falls back on where a list is short."""
  if not isinstance(search, Generative) or search.widened is None:
    return
  wider = search.widened(search.num_results)
  wider(search.request_batch(requests), search.items, allowed.words_BW)
