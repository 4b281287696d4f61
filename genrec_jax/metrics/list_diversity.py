# SPDX-License-Identifier: Apache-2.0
"""How different the items of one list are, on content that does not learn.

    ILD           = mean of d(i, j) over the pairs of a list
    redundancy(t) = share of filled places r whose item has cos > t with that
                    of an earlier place

The vectors must be FIXED content (categories, text), never the model's own: a
model that moves its items apart would otherwise grade itself. d is 1 - cos or
the number of differing features. As in RecTools 0.19 (IntraListDiversity):
pairs are unordered, a list of one item has ILD 0, a pair with an item of
unknown content is left out, and a list all of whose pairs are has none (NaN).
A repeated item is a pair at distance 0.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.metrics.lists import mean_of_places, repeats

Distances = Callable[[Float[np.ndarray, "U K D"]], Float[np.ndarray, "U K K"]]
REDUNDANT_ABOVE = 0.9


def cosine_distances(
  vectors_UKD: Float[np.ndarray, "U K D"],
) -> Float[np.ndarray, "U K K"]:
  """Returns 1 - cos, 0..2, in float64; a vector of zeros is unknown (NaN)."""
  vectors_UKD = vectors_UKD.astype(np.float64)
  length_UK1 = np.linalg.norm(vectors_UKD, axis=2, keepdims=True)
  unit_UKD = vectors_UKD / np.where(length_UK1 > 0, length_UK1, np.nan)
  cosine_UKK = unit_UKD @ unit_UKD.transpose(0, 2, 1)
  return 1 - np.clip(cosine_UKK, -1, 1)


def hamming_distances(
  features_UKD: Float[np.ndarray, "U K D"],
) -> Float[np.ndarray, "U K K"]:
  """Returns the number of differing features; NaN for rows that hold a NaN."""
  differs_UKKD = features_UKD[:, :, None, :] != features_UKD[:, None, :, :]
  unknown_UK = np.isnan(features_UKD).any(axis=2)
  unknown_UKK = unknown_UK[:, :, None] | unknown_UK[:, None, :]
  count_UKK = differs_UKKD.sum(axis=3).astype(np.float64)
  return np.where(unknown_UKK, np.nan, count_UKK)


def intra_list_diversity(
  lists_UK: Int[np.ndarray, "U K"],
  vectors_V1D: Float[np.ndarray, "V1 D"],
  distances: Distances = cosine_distances,
) -> Float[np.ndarray, "U"]:
  """Returns ILD of each list; NaN without items or without a known pair.

  Args:
    lists_UK: see metrics/lists.py.
    vectors_V1D: content by item index; row 0 is not read as an item.
    distances: between the items of each list, NaN where unknown.
  """
  placed_UK = lists_UK > 0
  distance_UKK = distances(vectors_V1D[np.maximum(lists_UK, 0)])
  is_pair_UKK = placed_UK[:, :, None] & placed_UK[:, None, :]
  is_pair_UKK &= np.tri(lists_UK.shape[1], k=-1, dtype=bool)
  is_pair_UKK &= ~np.isnan(distance_UKK)
  # A list's pairs in one row; -1 has no meaning where there are no lists.
  pairs = len(lists_UK), lists_UK.shape[1] ** 2
  mean_U = mean_of_places(
    distance_UKK.reshape(pairs), is_pair_UKK.reshape(pairs)
  )
  return np.where(placed_UK.sum(axis=1) == 1, 0.0, mean_U)


def redundancy(
  lists_UK: Int[np.ndarray, "U K"],
  vectors_V1D: Float[np.ndarray, "V1 D"],
  above: float = REDUNDANT_ABOVE,
) -> Float[np.ndarray, "U"]:
  """Returns the share of places too like an earlier one; NaN without items.

  An item of unknown content is like no other, but like itself.

  Args:
    lists_UK: see metrics/lists.py.
    vectors_V1D: content by item index.
    above: t, the cosine above which two items are the same to a user.
  """
  if not -1 <= above < 1:
    raise ValueError(f"above={above} is a cosine: give one in [-1, 1)")
  placed_UK = lists_UK > 0
  distance_UKK = cosine_distances(vectors_V1D[np.maximum(lists_UK, 0)])
  like_UKK = (1 - distance_UKK > above) & placed_UK[:, None, :]
  like_UKK &= np.tri(lists_UK.shape[1], k=-1, dtype=bool)
  redundant_UK = like_UKK.any(axis=2) | repeats(lists_UK)
  return mean_of_places(redundant_UK.astype(np.float64), placed_UK)
