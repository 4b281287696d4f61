# SPDX-License-Identifier: Apache-2.0
"""The baseline that knows no user: items by their number of training events.

    score(item) = count(item)

Counts are those of the catalogue, which are taken over the training part
alone. Items that never occur there score 0 and come last, by index. Two counts
above 2^24 may tie, because scores are float32. With a mask, a request takes the
first allowed ones of that one order: no scores (B, V) are made.
"""

from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.baselines.top_k import top_k
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask


class MostPopular:
  """Ranks all items alike for everybody."""

  def __init__(self, count: Int[np.ndarray, "V1"]):
    """count: training events by item index, as Catalog.count has them."""
    self._score_V = count.astype(np.float32)

  def search(
    self,
    query: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Returns ids and counts of the k most popular allowed items, and {}.

    Places beyond the number of allowed items hold id 0 and score -inf.
    """
    rows, num_items = len(query), len(self._score_V) - 1
    if allowed is None:
      ids_1K, scores_1K = top_k(self._score_V[None], k)
      return ids_1K.repeat(rows, axis=0), scores_1K.repeat(rows, axis=0), {}
    allowed.check(rows, num_items)
    hidden_B = num_items - allowed.count()
    # Of the first k + n places, n at most are of hidden items.
    fetch = min(num_items, k + int(hidden_B.max(initial=0)))
    ids_1F, _ = top_k(self._score_V[None], fetch)
    ids = np.zeros((rows, k), np.int32)
    scores = np.full((rows, k), -np.inf, np.float32)
    for row, hidden in enumerate(hidden_B.tolist()):
      first_1F = ids_1F[:, : k + hidden]
      found = first_1F[allowed[row : row + 1].at(first_1F)][:k]
      ids[row, : len(found)] = found
      scores[row, : len(found)] = self._score_V[found]
    return ids, scores, {}
