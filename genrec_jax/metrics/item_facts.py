# SPDX-License-Identifier: Apache-2.0
"""What is known of the items before anything is recommended.

Counts of the training part, and, where the data has them, content vectors and
categories. All are fixed: no model, no target and no list changes them.
"""

from __future__ import annotations

import dataclasses
import functools

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.metrics.item_counts import ItemCounts


@dataclasses.dataclass(frozen=True, eq=False)
class ItemFacts:
  """Facts by item index; row 0 is padding.

  Attributes:
    counts: events and users in the training part.
    vectors_V1D: content; a row of zeros is an item of unknown content. None
      where the data has none: intra-list diversity and redundancy are left out.
    categories_V1G: how much of each category an item has (multi-hot, for one),
      zeros where unknown. None: calibration of categories is left out.
  """

  counts: ItemCounts
  vectors_V1D: Float[np.ndarray, "V1 D"] | None = None
  categories_V1G: Float[np.ndarray, "V1 G"] | None = None

  def __post_init__(self):
    rows = self.num_items + 1
    tables = {
      "vectors_V1D": self.vectors_V1D,
      "categories_V1G": self.categories_V1G,
    }
    for name, table in tables.items():
      if table is None:
        continue
      if len(table) != rows:
        raise ValueError(
          f"{name} has {len(table)} rows for {self.num_items} items; give"
          f" {rows}, the first for padding"
        )
      if not np.isfinite(table).all():
        raise ValueError(f"{name} holds values that are not finite")
    categories = self.categories_V1G
    if categories is not None and (categories < 0).any():
      raise ValueError(
        f"categories_V1G holds {categories.min()}; shares of categories are 0"
        " or more"
      )

  @property
  def num_items(self) -> int:
    """V."""
    return self.counts.num_items

  @functools.cached_property
  def ranks_V1(self) -> Int[np.ndarray, "V1"]:
    """ItemCounts.ranks."""
    return self.counts.ranks()

  @functools.cached_property
  def head_V1(self) -> Bool[np.ndarray, "V1"]:
    """ItemCounts.head."""
    return self.counts.head()
