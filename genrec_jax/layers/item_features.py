# SPDX-License-Identifier: Apache-2.0
"""Features of items by id: rows of tables that are known beforehand.

    f(v) = [F_g[row_g(v)] for features g]        (..., G D)

`rows` (V + 1, G), the row of every item in every table, is data that lies with
the parameters (core/model_seams.py: ConstantModel): set from the catalogue
before training and held still. So any id has its features, those of drawn
negatives and of a whole catalogue too. The tables are trained.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.layers.embeddings import count_rows
from genrec_jax.layers.feature_embedding import FeatureEmbedding

# Rows are kept as float32, as all parameters are.
_EXACT = 2**24


class ItemFeatures(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V.
    table_rows: rows of each feature's table.
    width: D, of a feature's vector.
    init_std: of the tables.
    row_multiple: of the items' rows and of the tables', see embeddings.py.
  """

  num_items: int
  table_rows: tuple[int, ...]
  width: int
  init_std: float = 0.02
  row_multiple: int = 1

  constants = ("rows",)
  logical_axes = {
    "rows": (None, None),
    "table/embedding": ("rows", "width"),
  }

  def setup(self):
    self.rows = self.param(
      "rows",
      nn.initializers.zeros,
      (count_rows(self.num_items, self.row_multiple), len(self.table_rows)),
      jnp.float32,
    )
    self.table = FeatureEmbedding(
      self.table_rows, self.width, self.init_std, self.row_multiple
    )

  def __call__(self, ids: Int[Array, "*b"] | None) -> Float[Array, "*b E"]:
    """Features of the ids, or of all rows for None, side by side."""
    rows = jax.lax.stop_gradient(self.rows)
    rows = rows if ids is None else rows[ids]
    found = self.table(rows.astype(jnp.int32))
    return found.reshape(*found.shape[:-2], -1)


def with_rows(
  params: Mapping[str, Any], rows_V1G: Int[np.ndarray, "V1 G"]
) -> dict[str, Any]:
  """Parameters of an ItemFeatures that hold a catalogue's rows.

  Raises:
    ValueError: rows of another catalogue, or beyond 2^24.
  """
  table = params["rows"]
  count, features = rows_V1G.shape
  if features != table.shape[1] or count > table.shape[0]:
    raise ValueError(
      f"features of items are {rows_V1G.shape}, and the system is built for"
      f" {tuple(table.shape)}: items and a row of padding, by features."
    )
  if rows_V1G.max(initial=0) >= _EXACT:
    raise ValueError(
      f"a feature has a row {rows_V1G.max()}: rows of an item's feature must be"
      f" below {_EXACT:,}, which float32 counts exactly. Hash it to fewer."
    )
  filled = np.zeros(table.shape, np.float32)
  filled[:count] = rows_V1G
  return {**params, "rows": jnp.asarray(filled)}
