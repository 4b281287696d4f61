# SPDX-License-Identifier: Apache-2.0
"""The floor that knows no user: items by their number of training events.

    score(item) = count(item)

Counts are those of the catalogue, which are taken over the training part
alone. Items that never occur there score 0 and come last, by index. Two counts
above 2^24 may tie, because scores are float32.
"""

from typing import Any

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.baselines.top_k import top_k
from genrec_jax.data.dataset.requests import Requests


class MostPopular:
  """Ranks all items alike for everybody."""

  def __init__(self, count: Int[np.ndarray, "V1"]):
    """count: training events by item index, as Catalog.count has them."""
    self._score_V = count.astype(np.float32)

  def search(
    self,
    query: Requests,
    k: int,
    allowed: Bool[np.ndarray, "B V1"] | None = None,
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Returns ids and counts of the k most popular allowed items, and {}.

    Places beyond the number of allowed items hold id 0 and score -inf.
    """
    if allowed is None:
      ids_1K, scores_1K = top_k(self._score_V[None], k)
      rows = len(query)
      return ids_1K.repeat(rows, axis=0), scores_1K.repeat(rows, axis=0), {}
    score_BV = np.broadcast_to(self._score_V[None], allowed.shape)
    return *top_k(score_BV, k, allowed), {}
