# SPDX-License-Identifier: Apache-2.0
"""A list that followed a history as an example: history -> J items.

    token_BL  segment_ids_BL  positions_BL  user_BL        tokens of histories
    target_item_BS  target_codes_BSM  target_segment_BS    S = J x lists

Every list of the training part (data/dataset/target_lists.py) is one example.
Its J items are J targets side by side, of one segment; item 0 = the list is
shorter. A model of lists reads J of them as one (models/list_seq2seq.py); to
any other they are single targets of the same history, at equal tokens. A
history has wanted events alone, in training and when asked.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.seams import Model
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.target_lists import (
  Baskets,
  ListRule,
  TrainingLists,
  is_wanted,
)
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.semantic_ids import look_up
from genrec_jax.data.schema import Record

# Of a record: the events before its list, and the list.
_END, _ITEMS = "end", "items"


@dataclasses.dataclass(frozen=True)
class _ByRecord:
  """A split that records carry themselves."""

  def train_end(self, record: Record) -> int:
    """Events that may be read."""
    return int(record[_END])


class ListRecords:
  """A user's record for each of the training lists, with the list."""

  split = _ByRecord()

  def __init__(self, histories: HistorySource, lists: TrainingLists):
    """Of lists of these histories."""
    self._histories, self.lists = histories, lists

  def __len__(self) -> int:
    return len(self.lists)

  def __getitem__(self, index: int) -> Record:
    """The record, where the list begins, and its items."""
    if not 0 <= index < len(self):
      raise IndexError(f"{index} is out of range: {len(self)} lists.")
    lists = self.lists
    record = self._histories[int(lists.user_N[index])]
    more = {_END: lists.end_N[index], _ITEMS: lists.items_NJ[index]}
    return {**record, **more}

  def __repr__(self) -> str:
    # Grain compares it when it restores an iterator.
    return f"ListRecords({self._histories!r}, {len(self)})"


@dataclasses.dataclass(frozen=True)
class ListTargets(TokenPrefixes):
  """See the module docstring; attributes that are not here are TokenPrefixes'.

  Attributes:
    max_segments: lists of a row at most.
    lists: what makes them.
    users: whose lists train; None = all.
    wanted: of the data set; set by `bind`.
  """

  lists: ListRule = Baskets()
  users: UserPart | None = None
  wanted: BoundFeedback | None = None

  def __post_init__(self):
    super().__post_init__()
    for name in ("watched", "told"):
      if vars(self)[name] is not None:
        raise ValueError(
          f"config.pipeline.layout.{name}: nothing is told of lists beside"
          " their items; leave it out, or take layouts.TokenPrefixes."
        )

  @property
  def num_columns(self) -> int:
    """Columns of an Example: the first J - 1 items stand behind the user."""
    return super().num_columns + self.lists.size - 1

  def bind(self, artifacts: LayoutArtifacts) -> "ListTargets":
    """The layout with the codes of items and the actions of the data set."""
    bound = super().bind(artifacts)
    if self.lists.wanted is None:
      return bound
    actions = artifacts.histories.manifest.actions
    return dataclasses.replace(bound, wanted=self.lists.wanted.bind(actions))

  def check_system(self, system: Model) -> None:
    """Raises a ValueError where a model writes lists of another size."""
    if not seams.offers(system, seams.ListModel):
      return
    if system.list_size not in (1, self.lists.size):
      raise ValueError(
        f"config.system.list_size={system.list_size} must be"
        f" config.pipeline.layout.lists.size={self.lists.size}, or 1 for a"
        " model of single items."
      )

  def source(self, histories: HistorySource) -> HistorySource:
    """A record for every list."""
    lists = TrainingLists.of(histories, self.lists, self.wanted, self.users)
    return ListRecords(histories, lists)

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of the wanted events before `end`, and the list behind them."""
    del rng
    items = record["item"][:end][is_wanted(record, self.wanted)[:end]]
    rows = self._rows(items, int(record["user"]), self.max_items)
    if len(rows):
      rows[-1, self._target_columns] = record[_ITEMS]
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and gathers their lists; all int32.

    Raises:
      ValueError: a row of more lists than max_segments.
    """
    size = self.lists.size
    target_BLJ = rows_BLC[:, :, self._target_columns]
    row, place = np.nonzero(target_BLJ[:, :, 0])
    number = segment_ids_BL[row, place] - 1
    if number.max(initial=0) >= self.max_segments:
      raise ValueError(
        f"a row holds {number.max() + 1} lists; max_segments="
        f"{self.max_segments}."
      )
    shape = (len(rows_BLC), self.max_segments, size)
    target_BSJ = np.zeros(shape, np.int32)
    segment_BSJ = np.zeros(shape, np.int32)
    target_BSJ[row, number] = target_BLJ[row, place]
    segment_BSJ[row, number] = number[:, None] + 1
    target_BS = target_BSJ.reshape(len(rows_BLC), -1)
    return {
      **self._named(rows_BLC, segment_ids_BL, positions_BL),
      "target_item_BS": target_BS,
      "target_codes_BSM": look_up(self.codes, target_BS, self.num_levels),
      "target_segment_BS": segment_BSJ.reshape(len(rows_BLC), -1),
    }

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: the last wanted items, right padded; no target."""
    history = [
      {**record, "item": record["item"][is_wanted(record, self.wanted)]}
      for record in requests.history
    ]
    return super().request_batch(dataclasses.replace(requests, history=history))

  @property
  def _target_columns(self) -> list[int]:
    # Of one item TokenPrefixes has the column, and the user stands behind it.
    return [1, *range(3, 2 + self.lists.size)]
