# SPDX-License-Identifier: Apache-2.0
"""One table for the values of all features, stacked with offsets.

    E (1 + R_0 + ... + R_{F-1}, D)     value i of feature f: row
                                       1 + R_0 + .. + R_{f-1} + i

Row 0 belongs to nothing: it is what a row-wise optimizer never touches
(ops/embedding_lookup.py), and value 0 of a feature, "missing", is learnt. One
table is one lookup, and one exchange where a mesh splits its rows.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.layers.embeddings import count_rows
from genrec_jax.ops.embedding_lookup import embedding_lookup


class FeatureEmbedding(nn.Module):
  """See the module docstring; normal(0, init_std) at start.

  Attributes:
    rows: R_f, values of each feature.
    width: D.
    init_std: of the rows.
    row_multiple: the number of rows is a multiple of it.
  """

  rows: tuple[int, ...]
  width: int
  init_std: float = 0.02
  row_multiple: int = 1

  def setup(self):
    self.embedding = self.param(
      "embedding",
      nn.initializers.normal(self.init_std),
      (count_rows(sum(self.rows), self.row_multiple), self.width),
      jnp.float32,
    )

  def __call__(
    self,
    ids: Int[Array, "*b G"],
    features: tuple[int, ...] | None = None,
  ) -> Float[Array, "*b G D"]:
    """Vectors in float32 of one value each of some features; None = all."""
    starts = 1 + np.cumsum([0, *self.rows[:-1]])
    starts_G = starts if features is None else starts[list(features)]
    starts_G = jnp.asarray(starts_G, jnp.int32)
    shape = (1,) * (ids.ndim - 1) + (-1,)
    return embedding_lookup(self.embedding, ids + starts_G.reshape(shape))
