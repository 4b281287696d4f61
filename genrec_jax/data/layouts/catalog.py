# SPDX-License-Identifier: Apache-2.0
"""The layout that reads items and no users: vectors in packed rows.

    item_BL  user_BL  segment_ids_BL  positions_BL  vector_BLD
    with partners also: partner_BL  partner_vector_BLD
    with collaborative vectors also: collaborative_BLE  collaborative_known_BL

Each item is a segment of its own, and comes once an epoch. Records are `group`
items, dealt out once by a fixed shuffle: one record at a time, the pipeline
would spend more on an item than the model does (107 us of CPU time against 60
for an RQ-VAE of .7 M parameters).
A partner is an item that stands next to it (within `window` events) in the
TRAINING part of some history, drawn anew each time by how often it does; 0
where there is none.
"""

import dataclasses
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np
from scipy import sparse
from tqdm import tqdm

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.layouts.base import BaseLayout, LayoutArtifacts
from genrec_jax.data.schema import Record

_COLUMNS = ("item", "partner")


class CatalogData(NamedTuple):
  """What is known of the items to train on.

  Attributes:
    vectors: (N, D) of config.content.
    collaborative: (N, E) of config.collaborative; zeros where not known.
    known: (N,) whether they are.
  """

  vectors: Any
  collaborative: Any
  known: Any


@dataclasses.dataclass(frozen=True)
class CatalogRows(BaseLayout):
  """Items with their vectors.

  Attributes:
    width: D of the vectors.
    partners: draw a partner for each item.
    window: events between an item and its partner, at most.
    min_count: items with fewer events in the training part are left out; 1
      trains on what training may know of, 0 on all.
    group: items of a record.
    collaborative_width: E of the vectors of config.collaborative, which batches
      then have beside the others; 0 = they have not.
  """

  width: int
  partners: bool = False
  window: int = 1
  min_count: int = 0
  group: int = 16
  collaborative_width: int = 0

  num_columns = len(_COLUMNS)

  @property
  def max_length(self) -> int:
    """Positions of an example."""
    return self.group

  def bind(self, artifacts: LayoutArtifacts) -> "BoundCatalogRows":
    """The layout with vectors and partners.

    Raises:
      ValueError: vectors of another width, or no item to train on.
    """
    vectors = artifacts.vectors()
    if vectors.shape[1] != self.width:
      raise ValueError(
        f"config.pipeline.layout.width={self.width}, and the item vectors have"
        f" width {vectors.shape[1]}: set it, and config.system.vector_width, to"
        " that."
      )
    items = np.flatnonzero(artifacts.catalog.count >= self.min_count)
    items = items[items > 0]
    if not len(items):
      raise ValueError(
        f"no item has the config.pipeline.layout.min_count={self.min_count}"
        " events in the training part."
      )
    found = None
    if self.partners:
      found = count_neighbours(
        artifacts.histories, len(vectors), self.window, items
      )
    others = None
    if self.collaborative_width:
      others = artifacts.collaborative()
      if others[0].shape[1] != self.collaborative_width:
        raise ValueError(
          "config.pipeline.layout.collaborative_width="
          f"{self.collaborative_width}, and the vectors of config.collaborative"
          f" have width {others[0].shape[1]}: set it, and that of"
          " config.system, to that."
        )
    return BoundCatalogRows(
      **dataclasses.asdict(self),
      vectors=vectors,
      items=items,
      beside=found,
      others=others,
    )

  def names(self, users: Users, catalog: Catalog) -> list[str]:
    """Items are read here, not users."""
    return catalog.ids

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Rows of the record's items, without partners."""
    del rng
    rows = np.zeros((end, len(_COLUMNS)), np.int32)
    rows[:, 0] = record["item"][:end]
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and adds the items' vectors."""
    item_BL, partner_BL = rows_BLC[:, :, 0], rows_BLC[:, :, 1]
    real_BL = segment_ids_BL > 0
    batch = {
      "item_BL": np.ascontiguousarray(item_BL),
      "user_BL": np.ascontiguousarray(item_BL),
      "segment_ids_BL": np.cumsum(real_BL, axis=1, dtype=np.int32) * real_BL,
      "positions_BL": np.zeros_like(positions_BL, np.int32),
      "vector_BLD": self._vectors(item_BL),
    }
    if self.partners:
      batch["partner_BL"] = np.ascontiguousarray(partner_BL)
      batch["partner_vector_BLD"] = self._vectors(partner_BL)
    if self.collaborative_width:
      vectors, known = self._others(item_BL)
      batch["collaborative_BLE"] = vectors
      batch["collaborative_known_BL"] = known
    return batch

  def _vectors(self, item_BL):
    """Zeros: an unbound layout knows shapes only."""
    return np.zeros((*item_BL.shape, self.width), np.float32)

  def _others(self, item_BL):
    """Likewise."""
    shape = (*item_BL.shape, self.collaborative_width)
    return np.zeros(shape, np.float32), np.zeros(item_BL.shape, bool)


@dataclasses.dataclass(frozen=True, eq=False)
class BoundCatalogRows(CatalogRows):
  """CatalogRows with what it reads.

  Attributes:
    vectors: by item, row 0 zeros.
    items: those to train on, ascending.
    beside: by item, how often others stand beside it; None without partners.
    others: by item, collaborative vectors, and whether they are known.
  """

  vectors: Float[np.ndarray, "V1 D"] = None
  items: Int[np.ndarray, "N"] = None
  beside: Any = None
  others: tuple[Any, Any] | None = None

  def source(self, histories: HistorySource) -> "CatalogItems":
    """The items as records of a group each."""
    return CatalogItems(self.items, self.group, repr(histories))

  def init_data(self) -> "Float[np.ndarray, 'N D'] | CatalogData":
    """Vectors of the items to train on, and with collaborative ones all."""
    vectors = self.vectors[self.items]
    if self.others is None:
      return vectors
    return CatalogData(vectors, *(x[self.items] for x in self.others))

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Rows of the record's items, each with a partner or 0."""
    rows = super().example(record, end, rng)
    if self.beside is not None and rng is not None:
      rows[:, 1] = [self._partner(item, rng) for item in rows[:, 0]]
    return rows

  def _partner(self, item, rng):
    start, stop = self.beside.indptr[item : item + 2]
    if start == stop:
      return 0
    # `data` holds running sums within the row.
    sums = self.beside.data[start:stop]
    place = np.searchsorted(sums, rng.random() * sums[-1], side="right")
    return self.beside.indices[start + min(place, len(sums) - 1)]

  def _vectors(self, item_BL):
    return self.vectors[item_BL]

  def _others(self, item_BL):
    return tuple(np.ascontiguousarray(x[item_BL]) for x in self.others)


class CatalogItems:
  """Items as records for the pipeline, `group` in each; every one trains."""

  def __init__(self, items: Int[np.ndarray, "N"], group: int, data: str):
    # Not the catalogue's order, in which neighbours are alike.
    self._items = np.random.default_rng(0).permutation(items)
    self._count = -(-len(items) // group)
    self._data = data
    self.split = _Everything()

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Record:
    """The record of one group: "user", its number, and "item"."""
    if not 0 <= index < len(self):
      raise IndexError(f"group {index} is out of range: there are {len(self)}.")
    items = self._items[index :: self._count].astype(np.int32)
    return {"user": np.array(index, np.int32), "item": items}

  def __repr__(self) -> str:
    # Grain compares it when it restores an iterator.
    return f"CatalogItems({len(self._items)} in {self._count} of {self._data})"


class _Everything:
  def train_end(self, record: Record) -> int:
    return len(record["item"])


def count_neighbours(
  histories: HistorySource, rows: int, window: int, items: np.ndarray
) -> sparse.csr_array:
  """(rows, rows): running sums of how often two items stand close together.

  Args:
    histories: only the part before train_end is read.
    rows: V + 1.
    window: places between two items, at most.
    items: both must be among them.
  """
  pairs = [np.zeros((0, 2), np.int64)]
  for user in tqdm(range(len(histories)), desc="partners", delay=2):
    record = histories[user]
    item = record["item"][: histories.split.train_end(record)]
    for gap in range(1, min(window, len(item) - 1) + 1):
      pairs.append(np.stack([item[:-gap], item[gap:]], axis=1))
  both = np.concatenate(pairs)
  keep = np.isin(both, items).all(axis=1) & (both[:, 0] != both[:, 1])
  a, b = both[keep].T
  ones = np.ones(2 * len(a))
  table = sparse.csr_array(
    (ones, (np.concatenate([a, b]), np.concatenate([b, a]))), (rows, rows)
  )
  table.sum_duplicates()
  # Running sums within each row.
  total = np.concatenate([[0.0], np.cumsum(table.data)])
  starts = np.repeat(total[table.indptr[:-1]], np.diff(table.indptr))
  table.data = total[1:] - starts
  return table
