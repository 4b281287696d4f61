# SPDX-License-Identifier: Apache-2.0
"""What a search found, as tables of ids and titles."""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np
import polars as pl

from genrec_jax.data.dataset.catalog import Catalog

MODEL, POPULAR = "model", "popular"
_SOURCES = pl.Series([POPULAR, MODEL])


@dataclasses.dataclass(frozen=True)
class Shortage:
  """Why lists are shorter than was asked.

  Attributes:
    count_B: items of every list.
    left_B: items that it could have had.
  """

  count_B: Int[np.ndarray, "B"]
  left_B: Int[np.ndarray, "B"]

  def why(self, k: int, num_items: int, num_wanted: int) -> str:
    """A sentence; '' where every list has k items.

    Args:
      k: places that were asked for.
      num_items: of the catalogue.
      num_wanted: items of it that the filters leave.
    """
    short_B = self.count_B < k
    if not short_B.any():
      return ""
    count_B, left_B = self.count_B[short_B], self.left_B[short_B]
    reasons = []
    if num_items < k:
      reasons.append(f"the catalogue has {num_items:,} items")
    if num_wanted < num_items:
      reasons.append(f"the filters leave {num_wanted:,}")
    if (left_B < num_wanted).any():
      reasons.append("items of the history are left out")
    if (count_B < np.minimum(left_B, k)).any():
      reasons.append("the search found no others")
    lists = (
      f"{count_B[0]:,} of k={k:,} items"
      if len(short_B) == 1
      else f"{len(count_B):,} of {len(short_B):,} lists have fewer than k={k:,}"
      " items"
    )
    return f"{lists}: {', '.join(reasons)}."


@dataclasses.dataclass(frozen=True)
class Found:
  """Lists of B requests, best first.

  Attributes:
    ids_BK: item indices; 0 where there are fewer than K.
    scores_BK: of each.
    by_model_B: whether the model was asked, or what is popular was taken.
    left_B: items that a list could have had.
  """

  ids_BK: Int[np.ndarray, "B K"]
  scores_BK: Float[np.ndarray, "B K"]
  by_model_B: Bool[np.ndarray, "B"]
  left_B: Int[np.ndarray, "B"]

  @classmethod
  def of(cls, parts: Sequence["Found"]) -> "Found":
    """One below the other."""
    names = [field.name for field in dataclasses.fields(cls)]
    return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))

  def at(self, rows: slice | Int[np.ndarray, "n"]) -> "Found":
    """Some of the lists."""
    names = [field.name for field in dataclasses.fields(self)]
    return Found(*(getattr(self, name)[rows] for name in names))

  def shortage(self) -> "Shortage":
    """What is to be said where lists are shorter than was asked."""
    return Shortage((self.ids_BK > 0).sum(axis=1), self.left_B)

  def one(self, catalog: Catalog) -> pl.DataFrame:
    """Item_id, title, score, source of the only list."""
    table, _ = self.table(catalog)
    return table.select("item_id", "title", "score", "source")

  def table(
    self, catalog: Catalog, titles: bool = True
  ) -> tuple[pl.DataFrame, Int[np.ndarray, "n"]]:
    """Rank (from 1), item_id, score, title, source; and each row's list.

    Args:
      catalog: of the items.
      titles: have the column title.
    """
    row, place = np.nonzero(self.ids_BK)
    found = self.ids_BK[row, place]
    columns = {
      "rank": (place + 1).astype(np.int32),
      "item_id": catalog.id_column.gather(found),
      "score": self.scores_BK[row, place],
    }
    if titles:
      columns["title"] = catalog.title_column.gather(found)
    columns["source"] = _SOURCES.gather(self.by_model_B[row].astype(np.uint32))
    return pl.DataFrame(columns), row
