# SPDX-License-Identifier: Apache-2.0
"""How much labels count by segment: more where other retrievers find less.

    r_s      recall@k of the lists over the training events of segment s
    w_s      (1 - r_s) / (1 - r), cut to [1 / bound, bound]     r of all events
    w        product over the kinds of segments, cut likewise

Of the training part alone, and of lists that are made of what was before. Where
nothing is missed, all weights are 1.
"""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.retriever_lists import RetrieverLists, places_of
from genrec_jax.data.dataset.segments import Segments, check_kinds

_WHERE = "config.pipeline.layout.lists.segments"


@dataclasses.dataclass(frozen=True)
class Fitted:
  """Weights by kind and segment."""

  segments: Segments
  weights: Mapping[str, Float[np.ndarray, "S"]]
  bound: float

  def of(
    self,
    items_E: Int[np.ndarray, "E"],
    times_E: Int[np.ndarray, "E"],
    lengths_E: Int[np.ndarray, "E"],
  ) -> Float[np.ndarray, "E"]:
    """Weights of labels, float32; arguments as of Segments.of."""
    found_E = np.ones(len(items_E))
    for kind, number_E in self.segments.of(items_E, times_E, lengths_E).items():
      found_E *= self.weights[kind][number_E]
    return np.clip(found_E, 1 / self.bound, self.bound).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class SegmentWeights:
  """See the module docstring.

  Attributes:
    kinds: of data/dataset/segments.py.
    attribute: of the items, that categories are values of.
    k: places of a list in which an item counts as found.
    bound: of the weights, at least 1; 1 = all the same.
  """

  kinds: tuple[str, ...] = ("freshness", "activity")
  attribute: str = ""
  k: int = 10
  bound: float = 3.0

  def __post_init__(self):
    check_counts(self, _WHERE, "k")
    check_kinds(self.kinds, self.attribute)
    if not 1 <= self.bound < np.inf:
      raise ValueError(f"{_WHERE}.bound={self.bound} must be at least 1.")

  def fit(
    self,
    histories: HistorySource,
    catalog: Catalog,
    lists: RetrieverLists,
    columns: Int[np.ndarray, "C"],
  ) -> Fitted:
    """Reads all users once.

    Args:
      histories: the data set.
      catalog: its items.
      lists: of its requests.
      columns: of the retrievers that count.
    """
    segments = Segments.build(histories, catalog, self.kinds, self.attribute)
    hits = {kind: np.zeros(len(n)) for kind, n in segments.names.items()}
    counts = {kind: np.zeros(len(n)) for kind, n in segments.names.items()}
    for user in range(len(histories)):
      record = histories[user]
      end = histories.split.train_end(record)
      if end < 2:
        continue
      events_E, items_E = np.arange(1, end), record["item"][1:end]
      times_E = record["time"][1:end] if "time" in record else events_E * 0
      places_EC = places_of(lists.of(user, events_E)[:, columns], items_E)
      hit_E = ((places_EC > 0) & (places_EC <= self.k)).any(axis=1)
      for kind, number_E in segments.of(items_E, times_E, events_E).items():
        size = len(counts[kind])
        counts[kind] += np.bincount(number_E, minlength=size)
        hits[kind] += np.bincount(number_E[hit_E], minlength=size)
    weights = {
      kind: gap_weights(hits[kind], counts[kind], self.bound) for kind in hits
    }
    return Fitted(segments, weights, self.bound)


def gap_weights(
  hits_S: Float[np.ndarray, "S"], counts_S: Float[np.ndarray, "S"], bound: float
) -> Float[np.ndarray, "S"]:
  """w_s of the module docstring; 1 for segments without an event.

  Args:
    hits_S: events that were found, by segment.
    counts_S: events.
    bound: of the weights.
  """
  missed_S, missed = counts_S - hits_S, np.sum(counts_S - hits_S)
  if not missed:
    return np.ones(len(counts_S))
  share_S = missed_S / np.maximum(counts_S, 1)
  ratio_S = share_S / (missed / counts_S.sum())
  return np.where(counts_S > 0, np.clip(ratio_S, 1 / bound, bound), 1.0)
