# SPDX-License-Identifier: Apache-2.0
"""Items that are like an item, by the vectors of a trained model."""

from jaxtyping import Float
import numpy as np

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.serving.found import Found


class Neighbours:
  """The items of highest cosine, exactly."""

  def __init__(self, item_vectors: Float[np.ndarray, "V1 D"]):
    """Takes the vector of every item index; row 0 is the pad."""
    norm = np.linalg.norm(item_vectors, axis=1, keepdims=True)
    unit = (item_vectors / np.maximum(norm, 1e-12)).astype(np.float32)
    self._unit_vectors = unit
    self._index = BruteForce.build(unit)

  def of(self, item: int, k: int) -> Found:
    """The k items next to an item index, without itself."""
    allowed = ItemMask.all_but([np.array([item])], self._index.num_items)
    ids, scores, _ = self._index.search(
      self._unit_vectors[item : item + 1], k, allowed
    )
    left = np.array([self._index.num_items - 1])
    return Found(np.asarray(ids), np.asarray(scores), np.ones(1, bool), left)
