# SPDX-License-Identifier: Apache-2.0
"""The next item under a condition: a user model that can be asked.

    c    = W_c [T_p[row_p] for parts p]          a condition
    e(v) = W_i [E[v], F_g[row_g(v)] for g]       an item, read and compared
    x_1 x_2 ... = c_1 e(i_1) c_2 e(i_2) ...      times a scale, with P[place]
    o_l  = backbone(x) at c_l                    finds i_l, of what came before

LUM (Yan et al., arXiv 2502.08309): the loss is a softmax over items at the
conditions (objectives/softmax.py; as published InfoNCE, whose temperature and
negatives are not known), over layouts.ConditionItems. Once trained it is asked:
Q conditions behind one history, each of which sees the history and itself, not
the others (the candidates' mask, M-FALCON of arXiv 2402.17152). The history is
computed once, and the answers o_q are what a ranker reads
(experiment/user_answers.py). Queries and items have unit length, so that
<o_q, e(v)> is a cosine.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.roles import TARGET
from genrec_jax.core.types import Batch, Outputs, SequenceInfo
from genrec_jax.layers.cache import Caching
from genrec_jax.layers.embeddings import ItemEmbedding, count_rows
from genrec_jax.layers.feature_embedding import FeatureEmbedding
from genrec_jax.layers.item_features import ItemFeatures, with_rows
from genrec_jax.models.history_reader import HistoryReader
from genrec_jax.ops.norm import l2_normalize


class ConditionItem(HistoryReader, kw_only=True):
  """See the module docstring; other options in history_reader.py.

  Attributes:
    condition_rows: rows of the table of each part of a condition.
    item_rows: rows of the table of each feature of items.
    part_width: of the vector of a part or a feature.
    embedding_scale: multiplies what is read; None = sqrt(D).
    embedding_init_std: of all tables.
  """

  condition_rows: tuple[int, ...]
  item_rows: tuple[int, ...]
  part_width: int = 16
  embedding_scale: float | None = None
  embedding_init_std: float = 0.02

  # Tables indexed by item id, for a warm start from a smaller catalogue.
  item_tables = (("item_embedding", "embedding"),)
  constants = tuple(f"item_features/{name}" for name in ItemFeatures.constants)

  def __post_init__(self):
    super().__post_init__()
    count_rows(self.num_items, self.row_multiple)

  def setup(self):
    super().setup()
    init_std = self.embedding_init_std
    self.item_embedding = ItemEmbedding(
      self.num_items, self.width, init_std, row_multiple=self.row_multiple
    )
    self.item_features = ItemFeatures(
      self.num_items,
      self.item_rows,
      self.part_width,
      init_std,
      self.row_multiple,
    )
    self.condition_embedding = FeatureEmbedding(
      self.condition_rows, self.part_width, init_std
    )
    self.item_in = nn.Dense(self.width)
    self.condition_in = nn.Dense(self.width)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "item_embedding/embedding": ("rows", "width"),
      **{
        f"item_features/{end}": axes
        for end, axes in ItemFeatures.logical_axes.items()
      },
      "condition_embedding/embedding": (None, None),
      "item_in/kernel": (None, "width"),
      "condition_in/kernel": (None, "width"),
      **super().logical_axes,
    }

  def data_init(
    self,
    params: Mapping[str, Any],
    item_rows: Int[np.ndarray, "V1 G"],
    key: Key[Array, ""],
  ) -> dict[str, Any]:
    """Fresh parameters with the features of the catalogue's items."""
    del key
    found = with_rows(params["item_features"], item_rows)
    return {**params, "item_features": found}

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states and queries (B, L, D) of a packed batch; 0 at padding."""
    h_BLD = self._hidden(self._tokens(batch), batch, deterministic)
    return Outputs(hidden=h_BLD, query=self._queries(h_BLD, batch))

  def items(self, ids: Int[Array, "*b"] | None = None) -> Float[Array, "*b D"]:
    """Item vectors of the ids, or of the whole table for None."""
    vectors = self._item(ids)
    return l2_normalize(vectors) if self.normalize else vectors

  def answers(self, batch: Batch) -> Float[Array, "B Q D"]:
    """What each query of a user finds, in float32.

    Args:
      batch: of layouts.ConditionItems.asking_batch, one history a row.

    Raises:
      ValueError: a backbone that keeps no history.
    """
    seams.require(self.backbone, Caching, "config.system.backbone")
    info = SequenceInfo.from_batch(batch)
    x_BLD = self._tokens(batch) + self.position_embedding(info.positions_BL)
    x_BLD = jnp.where(info.valid_BL[:, :, None], x_BLD, 0)
    # Nothing sees a query, so none needs a place.
    _, cache = self.backbone.start(x_BLD.astype(self.dtype), info, length=0)
    time_BQ = batch["asked_time_BQ"]
    next_B1 = jnp.sum(info.valid_BL, axis=1, keepdims=True, dtype=jnp.int32)
    asked = SequenceInfo(
      segment_ids_BL=jnp.ones_like(time_BQ),
      positions_BL=jnp.broadcast_to(next_B1, time_BQ.shape),
      key_times_BL=time_BQ,
      query_times_BL=time_BQ,
      roles_BL=jnp.full_like(time_BQ, TARGET),
    )
    y_BQD = self._condition(batch["asked_condition_BQP"]) * self._scale
    y_BQD = y_BQD + self.position_embedding(asked.positions_BL)
    h_BQD, _ = self.backbone.step(
      y_BQD.astype(self.dtype),
      cache,
      asked,
      parents_BK=jnp.zeros_like(time_BQ),
    )
    return self._queries(h_BQD, {"segment_ids_BL": asked.segment_ids_BL})

  @property
  def _scale(self) -> float:
    given = self.embedding_scale
    return self.width**0.5 if given is None else given

  def _tokens(self, batch: Batch) -> Float[Array, "B L D"]:
    """Vectors of conditions and items, without their positions."""
    item_BL = batch["item_BL"]
    condition_BLD = self._condition(batch["condition_BLP"])
    is_item_BL1 = (item_BL > 0)[:, :, None]
    x_BLD = jnp.where(is_item_BL1, self._item(item_BL), condition_BLD)
    return x_BLD * self._scale

  def _item(self, ids):
    told = [self.item_embedding(ids), self.item_features(ids)]
    return self.item_in(jnp.concatenate(told, axis=-1))

  def _condition(self, rows_P):
    found = self.condition_embedding(rows_P)
    return self.condition_in(found.reshape(*found.shape[:-2], -1))
