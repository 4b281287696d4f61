# SPDX-License-Identifier: Apache-2.0
"""Next-item prediction over any backbone: SASRec, HSTU and their kin.

    x_i = scale * E[item_i] + P[position_i],  dropout, zero at padding
    query_i = backbone(x)_i         scored against item vectors E[v]

Queries and items are l2-normalised or not together; with normalisation the
score is a cosine and the objective divides it by a temperature. Scale is
sqrt(D) in SASRec (Kang and McAuley, 2018) and HSTU (arXiv 2402.17152).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.seams import Backbone
from genrec_jax.core.types import Batch, Outputs, SequenceInfo
from genrec_jax.layers.embeddings import (
  ItemEmbedding,
  PositionEmbedding,
  count_rows,
)
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.packed_rows import last_of_rows


class NextItem(nn.Module):
  """Embeds packed histories, runs a backbone, and scores by dot product.

  Attributes:
    num_items: V; ids run from 1 to V.
    width: D.
    num_positions: longest segment that can be embedded.
    backbone: (x_BLD, info, deterministic) -> h_BLD.
    normalize: l2-normalise queries and items (eps 1e-6).
    embedding_scale: multiplies item embeddings at the input; None = sqrt(D).
    embedding_init_std: of the item table.
    row_width: of the item table; a wider row is projected down to D. None = D.
    row_multiple: the item table's rows are filled up to a multiple of it, for
      meshes that split it by rows.
    position_init_std: of the position table.
    dropout: on the embedded input.
    dtype: compute dtype of the input; parameters are float32.
  """

  num_items: int
  width: int
  num_positions: int
  backbone: Backbone
  normalize: bool = True
  embedding_scale: float | None = None
  embedding_init_std: float = 0.02
  row_width: int | None = None
  row_multiple: int = 1
  position_init_std: float = 0.02
  dropout: float = 0.0
  dtype: str = "float32"

  # Tables indexed by item id, for a warm start from a smaller catalogue.
  item_tables = (("item_embedding", "embedding"),)

  def __post_init__(self):
    super().__post_init__()
    count_rows(self.num_items, self.row_multiple)

  def setup(self):
    self.item_embedding = ItemEmbedding(
      self.num_items,
      self.width,
      self.embedding_init_std,
      row_width=self.row_width,
      row_multiple=self.row_multiple,
    )
    self.position_embedding = PositionEmbedding(
      self.num_positions, self.width, self.position_init_std
    )
    self.input_dropout = nn.Dropout(self.dropout)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "item_embedding/embedding": ("rows", "width"),
      "item_embedding/down/kernel": (None, "width"),
      "position_embedding/embedding": (None, "width"),
      **self.backbone.logical_axes,
    }

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.backbone.uses_time

  @property
  def max_length(self) -> int:
    """Longest segment whose positions all have a vector and a bias."""
    return min(self.num_positions, self.backbone.max_length)

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states and queries (B, L, D) of a packed batch; 0 at padding."""
    info = SequenceInfo.from_batch(batch)
    x_BLD = self.embed(batch) + self.position_embedding(info.positions_BL)
    x_BLD = self.input_dropout(x_BLD, deterministic=deterministic)
    x_BLD = jnp.where(info.valid_BL[:, :, None], x_BLD, 0)
    h_BLD = self.backbone(
      x_BLD.astype(self.dtype), info, deterministic=deterministic
    )
    # Scores, losses and metrics are float32 whatever the compute dtype:
    # bfloat16 scores tie often.
    query_BLD = h_BLD.astype(jnp.float32)
    if self.normalize:
      query_BLD = l2_normalize(query_BLD)
    query_BLD = jnp.where(info.valid_BL[:, :, None], query_BLD, 0)
    return Outputs(hidden=h_BLD, query=query_BLD)

  def embed(self, batch: Batch) -> Float[Array, "B L D"]:
    """Vectors of the inputs, without their positions."""
    scale = self.width**0.5
    if self.embedding_scale is not None:
      scale = self.embedding_scale
    return self.item_embedding(batch["item_BL"]) * scale

  def query(self, batch: Batch) -> Float[Array, "B D"]:
    """Query vector of the last position of each row (one user per row)."""
    query_BLD = self(batch, deterministic=True).query
    return last_of_rows(query_BLD, batch["segment_ids_BL"])

  def items(
    self, ids: Int[Array, "..."] | None = None
  ) -> Float[Array, "... D"]:
    """Item vectors of the ids, or of the whole table for None.

    The table's rows are 0 (padding), 1 to V, and those that fill it up.
    """
    vectors = self.item_embedding(ids)
    return l2_normalize(vectors) if self.normalize else vectors
