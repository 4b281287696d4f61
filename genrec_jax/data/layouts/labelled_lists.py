# SPDX-License-Identifier: Apache-2.0
"""A history with lists, of which the first is what followed: for list rewards.

    item_BL  user_BL  segment_ids_BL  positions_BL     a history per row
    list_item_BNJ                                      N lists of J items
    label_BN  labelled_BN                              1 = it followed; a list

The other lists are other users' of the same month (data/dataset/
month_lists.py), drawn anew in every epoch, and those that a model or another
retriever wrote for the same history (config.lists). A request has none: who
asks for rewards has lists of its own.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.month_lists import MonthLists
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.retriever_lists import RetrieverLists
from genrec_jax.data.dataset.target_lists import (
  Baskets,
  ListRule,
  TargetList,
  TrainingLists,
  is_wanted,
)
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.layouts.base import BaseLayout, LayoutArtifacts
from genrec_jax.data.layouts.list_targets import ListRecords
from genrec_jax.data.schema import Record


@dataclasses.dataclass(frozen=True)
class LabelledLists(BaseLayout):
  """See the module docstring.

  Attributes:
    max_length: most recent wanted events read.
    lists: what makes lists of events.
    users: whose lists train, and are drawn; None = all.
    others: lists of other users beside the one that followed.
    written: retrievers of config.lists, whose lists stand beside it too.
    training: the lists that train; set by `bind`.
    months: the same by month; likewise.
    wanted: of the data set; likewise.
    read: gives the lists of retrievers, and the columns of those written.
  """

  max_length: int
  lists: ListRule = Baskets()
  users: UserPart | None = None
  others: int = 4
  written: tuple[str, ...] = ()
  training: TrainingLists | None = None
  months: MonthLists | None = None
  wanted: BoundFeedback | None = None
  read: Callable[[], tuple[RetrieverLists, Any]] | None = None

  # A row is one history.
  max_segments = 1

  def __post_init__(self):
    where = "config.pipeline.layout"
    check_counts(self, where, "max_length", "others")

  @property
  def num_columns(self) -> int:
    """Columns of an Example: item, user and, in its first row, all lists."""
    return 2 + self.num_lists * self.lists.size

  @property
  def num_lists(self) -> int:
    """N."""
    return 1 + self.others + len(self.written)

  def bind(self, artifacts: LayoutArtifacts) -> "LabelledLists":
    """Reads all users once for the lists that are drawn."""
    manifest = artifacts.histories.manifest
    wanted = self.lists.wanted
    if wanted is not None:
      wanted = wanted.bind(manifest.actions)
    training = TrainingLists.of(
      artifacts.histories, self.lists, wanted, self.users
    )
    months = MonthLists.of(
      training.user_N,
      training.moment_N,
      training.items_NJ,
      manifest.epoch_seconds,
    )

    def read():
      lists = artifacts.retriever_lists()
      where = "config.pipeline.layout.written"
      return lists, lists.columns(self.written, where)

    return dataclasses.replace(
      self, training=training, months=months, wanted=wanted, read=read
    )

  def source(self, histories: HistorySource) -> HistorySource:
    """A record for every list."""
    return ListRecords(histories, self.training)

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """The wanted events before `end`; in the first row also the lists."""
    rows = self._rows(record, end)
    if not len(rows):
      return rows
    user = int(record["user"])
    time = int(record["time"][end]) if "time" in record else 0
    rng = np.random.default_rng(user) if rng is None else rng
    others = self.months.others(user, time, rng, self.others)
    own = record["items"]
    lists_NJ = np.concatenate(
      [own[None], others, self._written(user, end, own)]
    )
    rows[0, 2:] = lists_NJ.reshape(-1)
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of rows; all int32."""
    flat = np.ascontiguousarray(rows_BLC[:, 0, 2:])
    lists_BNJ = flat.reshape(len(rows_BLC), -1, self.lists.size)
    labelled_BN = lists_BNJ[:, :, 0] > 0
    label_BN = np.zeros(labelled_BN.shape, np.int32)
    label_BN[:, 0] = labelled_BN[:, 0]
    return {
      "item_BL": np.ascontiguousarray(rows_BLC[:, :, 0]),
      "user_BL": np.ascontiguousarray(rows_BLC[:, :, 1]),
      "segment_ids_BL": segment_ids_BL.astype(np.int32),
      "positions_BL": positions_BL.astype(np.int32),
      "list_item_BNJ": lists_BNJ,
      "label_BN": label_BN,
      "labelled_BN": labelled_BN.astype(np.int32),
    }

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: its most recent wanted items; no lists."""
    shape = (len(requests), self.max_length)
    rows = np.zeros((*shape, self.num_columns), np.int32)
    segments = np.zeros(shape, np.int32)
    for row, record in enumerate(requests.history):
      own = self._rows(record, len(record["item"]))
      rows[row, : len(own)] = own
      segments[row, : len(own)] = 1
    positions = np.arange(shape[1], dtype=np.int32)[None, :] * segments
    return self.batch(rows, segments, positions)

  def held_out(
    self, pairs: Sequence[tuple[Record, TargetList]], seed: int
  ) -> Int[np.ndarray, "U N J"]:
    """Of each of these users' lists what it is told from: itself, and others.

    Others are of the same pairs: a season that nobody trained on. Those that
    retrievers wrote come last.
    """
    size = self.lists.size
    items = np.zeros((len(pairs), size), np.int32)
    moments, users = np.zeros((2, len(pairs)), np.int64)
    for row, (record, found) in enumerate(pairs):
      kept = found.items[:size]
      items[row, : len(kept)] = kept
      users[row] = record["user"]
      if "time" in record:
        moments[row] = record["time"][found.end]
    epoch = self.months.epoch_seconds
    months = MonthLists.of(users, moments, items, epoch)
    rng = np.random.default_rng(seed)
    return np.stack(
      [
        np.concatenate(
          [
            own[None],
            months.others(user, moment, rng, self.others),
            self._written(user, pairs[row][1].end, own),
          ]
        )
        for row, (own, user, moment) in enumerate(
          zip(items, users.tolist(), moments.tolist(), strict=True)
        )
      ]
    )

  def _written(self, user: int, event: int, own: Int[np.ndarray, "J"]):
    """What retrievers wrote before an event, without what is `own` anyway."""
    found = np.zeros((len(self.written), self.lists.size), np.int32)
    if not self.written:
      return found
    lists, columns = self.read()
    theirs = lists.of(int(user), np.array([event]))[0][columns]
    theirs = theirs[:, : self.lists.size]
    found[:, : theirs.shape[1]] = theirs
    same = [{*items.tolist()} == {*own.tolist()} for items in found]
    found[same] = 0
    return found

  def _rows(self, record: Record, end: int) -> Int[np.ndarray, "n C"]:
    items = record["item"][:end][is_wanted(record, self.wanted)[:end]]
    items = items[-self.max_length :]
    rows = np.zeros((len(items), self.num_columns), np.int32)
    rows[:, 0] = items
    rows[:, 1] = record["user"]
    return rows
