# SPDX-License-Identifier: Apache-2.0
"""Histories as the codes of their items: Record -> rows of items -> codes.

TokenHistory reads a user once: n events give n rows, and every event but the
first is a target, predicted from those before it. The pipeline packs rows of
ITEMS; `batch` looks their codes up, M per item (semantic_ids/item_tokens.py):

    item_BL  user_BL  codes_BLM  segment_ids_BL  positions_BL
    target_item_BS  target_codes_BSM       S = L: what is to be predicted at
                                           place i, its own item; 0 = no target
    target_percentile_BS  ...              with watched, see watched.py
    children_BSMC                          with num_codes: whether an item has
                                           the code behind the target's before
"""

from collections.abc import Callable, Mapping
import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.seams import Model
from genrec_jax.core.types import ItemData
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.base import (
  BaseLayout,
  LayoutArtifacts,
  check_item_content,
  item_data,
)
from genrec_jax.data.layouts.code_children import children_of
from genrec_jax.data.layouts.watched import Watched
from genrec_jax.data.schema import Record

_COLUMNS = ("item", "user")


@dataclasses.dataclass(frozen=True)
class TokenHistory(BaseLayout):
  """The most recent events of a user, every one but the first a target.

  Attributes:
    max_length: items of a training example; a request has one less, as the
      item that it asks for has a position too.
    num_levels: M, codes of an item.
    codes: (V + 1, M), row 0 = padding; set by `bind`.
    num_codes: C, of the largest level: then batches have children_BSMC, from a
      table of V M C bytes. 0 = they have not.
    item_content: what models that read what items are are given: "vectors" of
      texts, or "text_tokens".
    item_data: gives what is known of the items, likewise.
    children: of every item's codes, likewise.
    watched: what is told of targets, and which events are some; None = nothing,
      and all but the first. All events are read, those of a target's request
      before it too.
  """

  max_length: int
  num_levels: int
  codes: Int[np.ndarray, "V1 M"] | None = None
  num_codes: int = 0
  item_content: str = "vectors"
  item_data: Callable[[], ItemData] | None = None
  children: Bool[np.ndarray, "V1 M C"] | None = None
  watched: Watched | None = None

  def __post_init__(self):
    if self.max_length < 2:
      raise ValueError(f"max_length={self.max_length} must be at least 2.")
    check_item_content(self.item_content)

  @property
  def num_columns(self) -> int:
    """Columns of an Example."""
    return self._own_columns

  @property
  def _own_columns(self) -> int:
    """Those of this class: a layout made of it may have more."""
    told = 0 if self.watched is None else self.watched.num_columns
    return len(_COLUMNS) + told

  def bind(self, artifacts: LayoutArtifacts) -> "TokenHistory":
    """The layout with what it needs of the data set's items."""
    codes = codes_of_catalog(artifacts, self.num_levels)
    return dataclasses.replace(
      self,
      codes=codes,
      children=children_of(codes, self.num_codes) if self.num_codes else None,
      item_data=item_data(artifacts, self.item_content),
      watched=None if self.watched is None else self.watched.bind(artifacts),
    )

  def check_system(self, system: Model) -> None:
    """Raises where a model's largest level is not num_codes."""
    if not self.num_codes:
      return
    seams.require(system, seams.CodesModel, "config.system")
    if max(system.level_sizes) != self.num_codes:
      raise ValueError(
        f"config.pipeline.layout.num_codes={self.num_codes} must be the size of"
        f" the largest level, of config.system.level_sizes="
        f"{tuple(system.level_sizes)}."
      )

  def init_data(self) -> ItemData:
    """What is known of the items; ValueError where they have no vectors."""
    return self.item_data()

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """The last max_length of the first `end` events; no rows where end < 2."""
    if end < 2:
      return np.zeros((0, self._own_columns), np.int32)
    seen = slice(max(0, end - self.max_length), end)
    items = record["item"][seen]
    rows = np.empty((len(items), self._own_columns), np.int32)
    rows[:, 0] = items
    rows[:, 1] = record["user"]
    if self.watched is not None:
      rows[:, len(_COLUMNS) :] = self.watched.rows(record, rng)[seen]
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and looks codes up; all int32."""
    item_BL = np.ascontiguousarray(rows_BLC[:, :, 0])
    codes_BLM = look_up(self.codes, item_BL, self.num_levels)
    more = {}
    if self.num_codes:
      shape = (*codes_BLM.shape, self.num_codes)
      more["children_BSMC"] = (
        np.zeros(shape, bool)
        if self.children is None
        else self.children[item_BL]
      )
    asked_BL = positions_BL > 0
    if self.watched is not None:
      told_BLC = rows_BLC[:, :, len(_COLUMNS) :]
      told_BLC = np.where(asked_BL[:, :, None], told_BLC, 0)
      more |= self.watched.facts(told_BLC)
      asked_BL = self.watched.is_target(told_BLC)
    return {
      "item_BL": item_BL,
      "user_BL": np.ascontiguousarray(rows_BLC[:, :, 1]),
      "codes_BLM": codes_BLM,
      "segment_ids_BL": segment_ids_BL.astype(np.int32),
      "positions_BL": positions_BL.astype(np.int32),
      "target_item_BS": np.where(asked_BL, item_BL, 0),
      "target_codes_BSM": codes_BLM,
      **more,
    }

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: its most recent items, right padded; no target.

    Rows have max_length places, the last of them empty.
    """
    shape = (len(requests), self.max_length)
    rows = np.zeros((*shape, self._own_columns), np.int32)
    segments = np.zeros(shape, np.int32)
    for row, record in enumerate(requests.history):
      items = record["item"][1 - self.max_length :]
      rows[row, : len(items), 0] = items
      rows[row, : len(items), 1] = requests.user[row]
      segments[row, : len(items)] = 1
    positions = np.arange(self.max_length, dtype=np.int32)[None, :] * segments
    batch: Mapping[str, np.ndarray] = self.batch(rows, segments, positions)
    return {**batch, "target_item_BS": np.zeros(shape, np.int32)}


def codes_of_catalog(
  artifacts: LayoutArtifacts, num_levels: int
) -> Int[np.ndarray, "V1 M"]:
  """Codes by item index, (V + 1, M).

  Raises:
    ValueError: items without codes, or codes of another number of levels.
  """
  codes = artifacts.codes()
  if codes.shape[1] != num_levels:
    raise ValueError(
      f"config.pipeline.layout.num_levels={num_levels}, and the item tokens in"
      f" {artifacts.directories['tokens']} have {codes.shape[1]} levels."
    )
  return codes


def look_up(
  codes: Int[np.ndarray, "V1 M"] | None,
  items: Int[np.ndarray, "*shape"],
  num_levels: int,
) -> Int[np.ndarray, "*shape M"]:
  """Codes of items; zeros where no table is bound (shapes only)."""
  if codes is None:
    return np.zeros((*items.shape, num_levels), np.int32)
  return codes[items]
