# SPDX-License-Identifier: Apache-2.0
"""Serendipity: relevant items that popularity would have placed lower.

    serendipity = mean over filled r of max(p_u(r) - p_any(i_r), 0) rel(i_r)
    p_u(r)      = (V + 1 - r) / V
    p_any(i)    = (V + 1 - popularity rank of i) / V;    0 without an event

The popularity rank is dense (ItemCounts.ranks): equal counts share a rank.
Conventions as RecTools 0.19 (Serendipity): the mean is over the filled places
of a list, not over k, and an item behind an empty place keeps its place r.
"""

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.metrics.lists import mean_of_places


def serendipity(
  lists_UK: Int[np.ndarray, "U K"],
  relevant_UK: Bool[np.ndarray, "U K"],
  ranks_V1: Int[np.ndarray, "V1"],
) -> Float[np.ndarray, "U"]:
  """Returns the serendipity of each list, 0..1; NaN for those without items.

  Args:
    lists_UK: see metrics/lists.py.
    relevant_UK: whether what a place holds is a target of the list's request.
    ranks_V1: popularity ranks in training, 1 is most popular, 0 = no event.
  """
  num_items = len(ranks_V1) - 1
  own_K = (num_items - np.arange(lists_UK.shape[1])) / num_items
  any_V1 = np.where(ranks_V1 > 0, (num_items + 1 - ranks_V1) / num_items, 0.0)
  gain_UK = np.maximum(own_K - any_V1[np.maximum(lists_UK, 0)], 0.0)
  return mean_of_places(gain_UK * relevant_UK, lists_UK > 0)
