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
  """Why some of many lists are shorter than was asked; two can be added.

  Attributes:
    k: places that were asked for.
    num_wanted: items of the catalogue that the filters leave.
    lists: how many there are.
    short: how many of them have fewer than k items.
    fewest: items of the shortest.
    hidden: a short one could not have had all that the filters leave.
    missed: a short one could have had more.
  """

  k: int
  num_wanted: int
  lists: int = 0
  short: int = 0
  fewest: int = 0
  hidden: bool = False
  missed: bool = False

  @classmethod
  def of(
    cls,
    k: int,
    num_wanted: int,
    count_B: Int[np.ndarray, "B"],
    left_B: Int[np.ndarray, "B"],
  ) -> "Shortage":
    """Of lists of so many items, which could have had so many."""
    # Compared as int32, which holds what a catalogue has.
    places = min(k, np.iinfo(np.int32).max)
    short_B = count_B < places
    short, left = count_B[short_B], left_B[short_B]
    return cls(
      k=k,
      num_wanted=num_wanted,
      lists=len(count_B),
      short=len(short),
      fewest=int(count_B.min(initial=num_wanted)),
      hidden=bool((left < num_wanted).any()),
      missed=bool((short < np.minimum(left, places)).any()),
    )

  def __add__(self, other: "Shortage") -> "Shortage":
    return dataclasses.replace(
      self,
      lists=self.lists + other.lists,
      short=self.short + other.short,
      fewest=min(self.fewest, other.fewest) if self.lists else other.fewest,
      hidden=self.hidden or other.hidden,
      missed=self.missed or other.missed,
    )

  def why(self, num_items: int) -> str:
    """A sentence, of a catalogue of so many; '' where no list is short."""
    if not self.short:
      return ""
    reasons = []
    if num_items < self.k:
      reasons.append(f"the catalogue has {num_items:,} items")
    if self.num_wanted < num_items:
      reasons.append(f"the filters leave {self.num_wanted:,}")
    if self.hidden:
      reasons.append("items of the history are left out")
    if self.missed:
      reasons.append("the search found no others")
    lists = (
      f"{self.fewest:,} of k={self.k:,} items"
      if self.lists == 1
      else f"{self.short:,} of {self.lists:,} lists have fewer than"
      f" k={self.k:,} items"
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

  def room(self, count: int) -> "Found":
    """Places for so many lists like these, whose values mean nothing yet."""
    names = [field.name for field in dataclasses.fields(self)]
    parts = [getattr(self, name) for name in names]
    return Found(*(np.empty((count, *x.shape[1:]), x.dtype) for x in parts))

  def put(self, rows: Int[np.ndarray, "n"], lists: "Found") -> None:
    """Writes lists to some of the places."""
    for field in dataclasses.fields(self):
      getattr(self, field.name)[rows] = getattr(lists, field.name)

  def at(self, rows: slice | Int[np.ndarray, "n"]) -> "Found":
    """Some of the lists."""
    names = [field.name for field in dataclasses.fields(self)]
    return Found(*(getattr(self, name)[rows] for name in names))

  def shortage(self, k: int, num_wanted: int) -> Shortage:
    """What is to be said where lists are shorter than the k asked for."""
    count_B = (self.ids_BK > 0).sum(axis=1)
    return Shortage.of(k, num_wanted, count_B, self.left_B)

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
