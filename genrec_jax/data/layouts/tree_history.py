# SPDX-License-Identifier: Apache-2.0
"""Histories as paths in a tree, with other items to rank by shared prefix.

As semantic_ids.py, and for every event `ranked` more items: each shares at
least 0, 1, .. M - 1 first codes with the event's, drawn anew every time.

    ranked_item_BSK  ranked_codes_BSKM       0 where none was drawn
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.layouts.code_children import Siblings
from genrec_jax.data.layouts.semantic_ids import TokenHistory, look_up
from genrec_jax.data.schema import Record


@dataclasses.dataclass(frozen=True)
class TreeHistory(TokenHistory):
  """See the module docstring.

  Attributes:
    ranked: K, items drawn for an event.
    siblings: items by their codes; set by `bind`.
  """

  ranked: int = 4
  siblings: Siblings | None = None

  @property
  def num_columns(self) -> int:
    """Columns of an Example."""
    return super().num_columns + self.ranked

  def bind(self, artifacts: LayoutArtifacts) -> "TreeHistory":
    """The layout with what it needs of the data set's items."""
    bound = super().bind(artifacts)
    return dataclasses.replace(bound, siblings=Siblings.of(bound.codes))

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Rows of TokenHistory, with items that were drawn where rng draws."""
    rows = super().example(record, end, rng)
    drawn = np.zeros((len(rows), self.ranked), np.int32)
    if rng is not None and self.siblings is not None and len(rows):
      drawn[:] = self.siblings.draw(rows[:, 0], self.ranked, rng)
    return np.concatenate([rows, drawn], axis=1)

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and looks codes up."""
    batch = super().batch(rows_BLC, segment_ids_BL, positions_BL)
    first = super().num_columns
    ranked_BSK = np.zeros((*batch["item_BL"].shape, self.ranked), np.int32)
    # Requests have the columns of TokenHistory alone.
    ranked_BSK[..., : rows_BLC.shape[2] - first] = rows_BLC[..., first:]
    batch["ranked_item_BSK"] = ranked_BSK
    batch["ranked_codes_BSKM"] = look_up(
      self.codes, ranked_BSK, self.num_levels
    )
    return batch
