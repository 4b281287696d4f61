# SPDX-License-Identifier: Apache-2.0
"""How the places of many lists are shared out among the items.

With x_i the places that item i holds in all lists, i = 1..V (zeros included),
x sorted ascending and p = x / sum x:

    coverage         items with x > 0, over V
    gini             sum_j (2 j - V - 1) x_j / ((V - 1) sum x)
                     0 = all items alike, 1 = one item has everything
    entropy          -sum p log2 p, bits;  effective_items = 2^entropy
    top_N_percent    share of the places of the ceil(N V / 100) most shown items
    personalization  1 - mean over pairs of lists of cos(list, list')

The lists of the cosine are sets: |A n B| / sqrt(|A| |B|), which for lists of k
items is |A n B| / k. With y = the sum over lists of their unit vectors, n of
them, the sum over ordered pairs is |y|^2 - n: no loop over pairs. Lists without
items take no part. Coverage, entropy and effective items grow with the number
of lists: compare them at equal `lists`. What is not defined is None.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int, Num
import numpy as np

from genrec_jax.metrics.lists import repeats

TOP_PERCENTS = (1, 10)


def gini(amounts_V: Num[np.ndarray, "V"]) -> float | None:
  """Normalised Gini coefficient, 0..1; None of one item or of no amount."""
  size, total = len(amounts_V), float(amounts_V.sum())
  if size < 2 or not total:
    return None
  weight_V = 2 * np.arange(1, size + 1) - size - 1
  return float(weight_V @ np.sort(amounts_V)) / ((size - 1) * total)


def entropy_bits(amounts_V: Num[np.ndarray, "V"]) -> float | None:
  """Entropy of the shares; None of no amount."""
  if not amounts_V.sum():
    return None
  shares = amounts_V[amounts_V > 0] / amounts_V.sum()
  # `or 0.0`: one item alone has the entropy 0 and not -0.
  return float(-(shares * np.log2(shares)).sum()) or 0.0


def top_share(amounts_V: Num[np.ndarray, "V"], percent: int) -> float | None:
  """Share of the largest ceil(percent V / 100) amounts; None of no amount."""
  if not 0 < percent <= 100:
    raise ValueError(f"percent={percent} must lie in 1..100")
  if not amounts_V.sum():
    return None
  items = -(-len(amounts_V) * percent // 100)
  return float(np.sort(amounts_V)[::-1][:items].sum() / amounts_V.sum())


@dataclasses.dataclass(frozen=True, eq=False)
class Exposure:
  """Places by item, and what personalization needs.

  Attributes:
    places_V1: places that an item holds, repeats within a list included; row 0
      (padding) is 0.
    directions_V1: sum over lists of 1 / sqrt(distinct items) for their items.
    lists: how many lists were given.
    filled: those with an item.
  """

  places_V1: Int[np.ndarray, "V1"]
  directions_V1: Float[np.ndarray, "V1"]
  lists: int
  filled: int

  @classmethod
  def empty(cls, num_items: int) -> Exposure:
    rows = num_items + 1
    return cls(np.zeros(rows, np.int64), np.zeros(rows), 0, 0)

  @classmethod
  def from_batch(
    cls, lists_UK: Int[np.ndarray, "U K"], num_items: int
  ) -> Exposure:
    """Counts lists (see metrics/lists.py) of items 1..num_items."""
    placed_UK = lists_UK > 0
    distinct_UK = placed_UK & ~repeats(lists_UK)
    count_U = distinct_UK.sum(axis=1)
    weight_U = 1 / np.sqrt(np.maximum(count_U, 1))
    weight_UK = np.broadcast_to(weight_U[:, None], lists_UK.shape)
    rows = num_items + 1
    return cls(
      np.bincount(lists_UK[placed_UK], minlength=rows),
      np.bincount(
        lists_UK[distinct_UK], weights=weight_UK[distinct_UK], minlength=rows
      ).astype(np.float64),
      len(lists_UK),
      int((count_U > 0).sum()),
    )

  def merge(self, other: Exposure) -> Exposure:
    """The state of both; ValueError for catalogues of different sizes."""
    if len(self.places_V1) != len(other.places_V1):
      raise ValueError(
        f"cannot merge exposure of {len(self.places_V1) - 1} and of"
        f" {len(other.places_V1) - 1} items: both must be of one catalogue"
      )
    return Exposure(
      self.places_V1 + other.places_V1,
      self.directions_V1 + other.directions_V1,
      self.lists + other.lists,
      self.filled + other.filled,
    )

  def personalization(self) -> float | None:
    """1 - mean cosine of two lists; None with fewer than two."""
    if self.filled < 2:
      return None
    pairs = self.filled * (self.filled - 1)
    overlap = float(self.directions_V1 @ self.directions_V1) - self.filled
    return 1 - overlap / pairs

  def compute(self) -> dict[str, float | None]:
    """Returns the metrics of the module's docstring."""
    places_V = self.places_V1[1:]
    bits = entropy_bits(places_V)
    return {
      "coverage": float((places_V > 0).mean()),
      "gini": gini(places_V),
      "entropy": bits,
      "effective_items": None if bits is None else 2.0**bits,
      **{
        f"top_{percent}_percent": top_share(places_V, percent)
        for percent in TOP_PERCENTS
      },
      "personalization": self.personalization(),
    }
