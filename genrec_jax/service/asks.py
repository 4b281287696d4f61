# SPDX-License-Identifier: Apache-2.0
"""What a model is asked, one request at a time, and what it says.

    ListAsk  -> Listed      the best items for somebody
    RankAsk  -> Ranked      what somebody would make of given items

All that can be wrong of a request has been found before it becomes one of
these (asker.py). Asks of one `kind` may share a batch.
"""

from collections.abc import Hashable
import dataclasses

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.ranking.utility import ValueFunction


@dataclasses.dataclass(frozen=True)
class ListAsk:
  """A list of items.

  Attributes:
    user: id, by which a cache may know the history; None = it is nobody's,
      such as that of a what-if.
    record: the history, whole.
    query_time: seconds since the data set's epoch at which is asked.
    allowed: what the list may hold, one row.
    places: one of the model's sizes of lists.
    by_model: somebody is known; else the most popular items answer.
  """

  user: str | None
  record: Record
  query_time: int
  allowed: ItemMask
  places: int
  by_model: bool

  @property
  def kind(self) -> Hashable:
    """What a batch has in common."""
    return "list", self.places, self.by_model


@dataclasses.dataclass(frozen=True)
class RankAsk:
  """Scores of given items.

  Attributes:
    user, record, query_time, by_model: as of ListAsk.
    candidates_N: item indices, each once.
    value: what probabilities are worth; None where nothing predicts any.
    changed: the history of a what-if; None = there is none.
  """

  user: str | None
  record: Record
  query_time: int
  candidates_N: Int[np.ndarray, "N"]
  by_model: bool
  value: ValueFunction | None = None
  changed: Record | None = None

  @property
  def kind(self) -> Hashable:
    """As of ListAsk."""
    return ("rank",)


@dataclasses.dataclass(frozen=True)
class Reused:
  """What a cache of histories was good for.

  Attributes:
    hit: events whose computation was there.
    new: events that were computed.
    why: why nothing was there; "" where something was (history_cache.py).
  """

  hit: int = 0
  new: int = 0
  why: str = ""


@dataclasses.dataclass(frozen=True)
class Listed:
  """A list, best first.

  Attributes:
    ids_K: item indices, no more than were asked for.
    scores_K: of each, finite.
    probabilities_KT: of a second stage's tasks; None without one.
    dropped: items whose score was no number.
    reused: of a cache.
  """

  ids_K: Int[np.ndarray, "K"]
  scores_K: Float[np.ndarray, "K"]
  probabilities_KT: Float[np.ndarray, "K T"] | None = None
  dropped: int = 0
  reused: Reused = Reused()


@dataclasses.dataclass(frozen=True)
class Scores:
  """Of the candidates behind one history; NaN = there is none.

  Attributes:
    values_N: by which they are ordered.
    probabilities_NT: of a ranker's tasks; None without one.
  """

  values_N: Float[np.ndarray, "N"]
  probabilities_NT: Float[np.ndarray, "N T"] | None = None


@dataclasses.dataclass(frozen=True)
class Ranked:
  """Scores of the candidates, in the order in which they were given.

  Attributes:
    scores: behind the history.
    scores_if: behind that of a what-if; None where none was asked for.
    dropped: candidates whose score is no number though they were scored.
    reused: of a cache.
  """

  scores: Scores
  scores_if: Scores | None = None
  dropped: int = 0
  reused: Reused = Reused()
