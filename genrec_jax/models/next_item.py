# SPDX-License-Identifier: Apache-2.0
"""Next-item prediction over any backbone: SASRec, HSTU and their kin.

    x_i = scale * E[item_i] + P[position_i],  dropout, zero at padding
    query_i = backbone(x)_i         scored against item vectors E[v]

Queries and items are l2-normalised or not together; with normalisation the
score is a cosine and the objective divides it by a temperature. Scale is
sqrt(D) in SASRec (Kang and McAuley, 2018) and HSTU (arXiv 2402.17152). How
histories are read is in history_reader.py.
"""

from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.embeddings import ItemEmbedding, count_rows
from genrec_jax.models.history_reader import HistoryReader
from genrec_jax.ops.norm import l2_normalize


class NextItem(HistoryReader):
  """Embeds packed histories, runs a backbone, and scores by dot product.

  Attributes:
    embedding_scale: multiplies item embeddings at the input; None = sqrt(D).
    embedding_init_std: of the item table.
    row_width: of the item table; a wider row is projected down to D. None = D.
  """

  embedding_scale: float | None = None
  embedding_init_std: float = 0.02
  row_width: int | None = None

  # Tables indexed by item id, for a warm start from a smaller catalogue.
  item_tables = (("item_embedding", "embedding"),)

  def __post_init__(self):
    super().__post_init__()
    count_rows(self.num_items, self.row_multiple)

  def setup(self):
    super().setup()
    self.item_embedding = ItemEmbedding(
      self.num_items,
      self.width,
      self.embedding_init_std,
      row_width=self.row_width,
      row_multiple=self.row_multiple,
    )

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "item_embedding/embedding": ("rows", "width"),
      "item_embedding/down/kernel": (None, "width"),
      **super().logical_axes,
    }

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states and queries (B, L, D) of a packed batch; 0 at padding."""
    h_BLD = self._hidden(self.embed(batch), batch, deterministic)
    return Outputs(hidden=h_BLD, query=self._queries(h_BLD, batch))

  def embed(self, batch: Batch) -> Float[Array, "B L D"]:
    """Vectors of the inputs, without their positions."""
    scale = self.width**0.5
    if self.embedding_scale is not None:
      scale = self.embedding_scale
    return self.item_embedding(batch["item_BL"]) * scale

  def items(
    self, ids: Int[Array, "..."] | None = None
  ) -> Float[Array, "... D"]:
    """Item vectors of the ids, or of the whole table for None.

    The table's rows are 0 (padding), 1 to V, and those that fill it up.
    """
    vectors = self.item_embedding(ids)
    return l2_normalize(vectors) if self.normalize else vectors
