# SPDX-License-Identifier: Apache-2.0
"""What each input of a history is given of other retrievers' lists.

    negatives_BLN       the first N different items, retrievers taking turns
    place_BLR           place of the label in the list of each of R retrievers,
                        from 1 on; 0 = it is not there
    segment_weight_BL   float32, how much the label's segments count

as of the moment before the label (data/dataset/retriever_lists.py). Which of
them there are says the config; columns of an Example are int32, of a weight its
bits. Lists are read where training makes its first example.
"""

from collections.abc import Callable
import dataclasses
import functools

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.retriever_lists import (
  RetrieverLists,
  by_turns,
  places_of,
)
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.layouts.segment_weights import Fitted, SegmentWeights
from genrec_jax.data.schema import Record

_WHERE = "config.pipeline.layout.lists"


@dataclasses.dataclass(frozen=True)
class _Read:
  """Lists, which of them coverage is read of, and weights of segments."""

  lists: RetrieverLists
  columns: Int[np.ndarray, "R"]
  weights: Fitted | None


@dataclasses.dataclass(frozen=True)
class EventLists:
  """See the module docstring.

  Attributes:
    negatives: N, of all retrievers; 0 = none.
    coverage: names of the R retrievers whose places are given, and by which
      segments are weighed; () = none.
    segments: weighs them; None = no.
    read: gives the lists; set by `bind`.
  """

  negatives: int = 0
  coverage: tuple[str, ...] = ()
  segments: SegmentWeights | None = None
  read: Callable[[], _Read] | None = None

  def __post_init__(self):
    check_counts(self, _WHERE, "negatives", least=0)
    if self.segments is not None and not self.coverage:
      raise ValueError(
        f"{_WHERE}.segments weighs by what retrievers find: name them in"
        f" {_WHERE}.coverage."
      )
    if not self.negatives and not self.coverage:
      raise ValueError(
        f"{_WHERE} gives nothing: set negatives or coverage, or leave it out."
      )

  @property
  def num_columns(self) -> int:
    """Columns of an Example."""
    weighs = self.segments is not None
    return len(self.coverage) + int(weighs) + self.negatives

  def bind(self, artifacts: LayoutArtifacts) -> "EventLists":
    """The same with the lists of a data set."""

    @functools.cache
    def read() -> _Read:
      found = artifacts.retriever_lists()
      if found.length * len(found.names) < self.negatives:
        raise ValueError(
          f"{_WHERE}.negatives={self.negatives}, and the"
          f" {len(found.names)} lists of config.lists have {found.length} items"
          " each: make longer ones, or read fewer."
        )
      columns = np.zeros(0, np.int64)
      if self.coverage:
        columns = found.columns(self.coverage, f"{_WHERE}.coverage")
        found.check_point_in_time(self.coverage)
      weights = None
      if self.segments is not None:
        weights = self.segments.fit(
          artifacts.histories, artifacts.catalog, found, columns
        )
      return _Read(found, columns, weights)

    return dataclasses.replace(self, read=read)

  def rows(
    self,
    record: Record,
    events_n: Int[np.ndarray, "n"],
    labels_n: Int[np.ndarray, "n"],
  ) -> Int[np.ndarray, "n C"]:
    """Columns for the labels of a record.

    Args:
      record: a user's history.
      events_n: before which the lists were asked for.
      labels_n: events whose items are to be found; of a basket another than
        its first.

    Raises:
      ValueError: lists that are not there, are of another data set, are
        shorter or fewer than asked for, or are made of later events.
    """
    if self.read is None:
      return np.zeros((len(events_n), self.num_columns), np.int32)
    read, items_n = self.read(), record["item"][labels_n]
    lists_nRk = read.lists.of(int(record["user"]), events_n)
    columns = []
    if self.coverage:
      columns.append(places_of(lists_nRk[:, read.columns], items_n))
    if read.weights is not None:
      times_n = record["time"][events_n] if "time" in record else events_n * 0
      weight_n = read.weights.of(items_n, times_n, events_n)
      columns.append(weight_n.view(np.int32)[:, None])
    if self.negatives:
      columns.append(by_turns(lists_nRk, self.negatives))
    return np.concatenate(columns, axis=1)

  def batch(self, rows_BLC: Int[np.ndarray, "B L C"]) -> dict[str, np.ndarray]:
    """Names these columns of packed rows."""
    found, start = {}, len(self.coverage)
    if self.coverage:
      found["place_BLR"] = np.ascontiguousarray(rows_BLC[:, :, :start])
    if self.segments is not None:
      bits_BL = np.ascontiguousarray(rows_BLC[:, :, start])
      found["segment_weight_BL"] = bits_BL.view(np.float32)
      start += 1
    if self.negatives:
      found["negatives_BLN"] = np.ascontiguousarray(rows_BLC[:, :, start:])
    return found
