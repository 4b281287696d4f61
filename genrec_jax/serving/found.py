# SPDX-License-Identifier: Apache-2.0
"""What a search found, as tables of ids and titles."""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np
import polars as pl

from genrec_jax.data.dataset.catalog import Catalog

MODEL, POPULAR = "model", "popular"


@dataclasses.dataclass(frozen=True)
class Found:
  """Lists of B requests, best first.

  Attributes:
    ids_BK: item indices; 0 where there are fewer than K.
    scores_BK: of each.
    by_model_B: whether the model was asked, or what is popular was taken.
  """

  ids_BK: Int[np.ndarray, "B K"]
  scores_BK: Float[np.ndarray, "B K"]
  by_model_B: Bool[np.ndarray, "B"]

  @classmethod
  def of(cls, parts: Sequence["Found"]) -> "Found":
    """One below the other."""
    names = [field.name for field in dataclasses.fields(cls)]
    return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))

  def one(self, catalog: Catalog) -> pl.DataFrame:
    """Item_id, title, score, source of the only list."""
    table, _ = self.table(catalog)
    return table.select("item_id", "title", "score", "source")

  def table(
    self, catalog: Catalog
  ) -> tuple[pl.DataFrame, Int[np.ndarray, "n"]]:
    """Rank (from 1), item_id, score, title, source; and each row's list."""
    row, place = np.nonzero(self.ids_BK)
    found = self.ids_BK[row, place]
    names = np.where(self.by_model_B[row], MODEL, POPULAR)
    table = pl.DataFrame(
      {
        "rank": (place + 1).astype(np.int32),
        "item_id": [catalog.ids[i] for i in found],
        "score": self.scores_BK[row, place],
        "title": [catalog.titles[i] for i in found],
        "source": names.tolist(),
      },
      schema_overrides=dict.fromkeys(("item_id", "title", "source"), pl.String),
    )
    return table, row
