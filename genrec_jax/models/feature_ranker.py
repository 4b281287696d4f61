# SPDX-License-Identifier: Apache-2.0
"""Pointwise ranking: features of one impression -> a logit for every task.

    x_f = E_f[id_f]                          features of item, user and moment
    e_j = [E_g[id_gj] for g] + A bits_j      event j of the history: its item's
                                             features, and what the user did
    u   = pooling(e, c)                      c = [x_g for g], the candidate
    z   = head(MLP(interactions([x, u])))    u as G more vectors

By pooling and interactions (layers/history_pooling.py,
layers/interactions.py) it is DLRM (arXiv 1906.00091), DIN (KDD 2018), DCN-v2
(arXiv 2008.13535) or Wukong (arXiv 2403.02545) over the rows of
data/layouts/pointwise.py. Positions of a row do not see each other.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.feature_embedding import FeatureEmbedding
from genrec_jax.layers.history_events import action_layer, history_events
from genrec_jax.layers.mlp import Mlp
from genrec_jax.ops.precision import SCORES


class FeatureRanker(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V; not read: items come as features, by a vocabulary.
    num_tasks: T.
    num_actions: bits of what is told of an event's action.
    feature_rows: rows of each feature's table, in the layout's order.
    history_columns: places among them of the G features that events have.
    width: D.
    pooling: (events, candidate, where) -> u.
    interactions: (..., F + G, D) -> (..., E).
    tower_widths: of the MLP after the interactions.
    dropout: in that MLP.
    embedding_init_std: of the tables.
    row_multiple: the stacked table is filled up to a multiple of it.
    dtype: compute dtype of the interactions' input and the MLP; parameters
      and logits are float32.
  """

  num_items: int
  num_tasks: int
  num_actions: int
  feature_rows: tuple[int, ...]
  history_columns: tuple[int, ...]
  width: int
  pooling: nn.Module
  interactions: nn.Module
  tower_widths: tuple[int, ...] = (128, 64)
  dropout: float = 0.0
  embedding_init_std: float = 0.02
  row_multiple: int = 1
  dtype: str = "float32"

  item_tables = ()
  uses_time = False
  # Positions do not see each other: any number fits.
  max_length = NO_LIMIT

  def setup(self):
    self.feature_embedding = FeatureEmbedding(
      self.feature_rows,
      self.width,
      self.embedding_init_std,
      self.row_multiple,
    )
    self.action = action_layer(
      len(self.history_columns) * self.width, self.embedding_init_std
    )
    self.tower = Mlp(self.tower_widths, self.dropout, self.dtype)
    self.head = nn.Dense(self.num_tasks, precision=SCORES)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """The table is what is large; matrices are small and stay whole."""
    return {
      "feature_embedding/embedding": ("rows", "width"),
      "kernel": (None, None),
    }

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, T) in float32; 0 at padding."""
    x_BLFD = self.feature_embedding(batch["features_BLF"])
    if self.history_columns:
      x_BLFD = jnp.concatenate([x_BLFD, self._history(batch, x_BLFD)], axis=2)
    h_BLE = self.interactions(x_BLFD.astype(self.dtype))
    h_BLE = self.tower(h_BLE, deterministic=deterministic)
    logits_BLT = self.head(h_BLE.astype(jnp.float32))
    valid_BL1 = (batch["segment_ids_BL"] > 0)[:, :, None]
    return Outputs(hidden=h_BLE, logits=jnp.where(valid_BL1, logits_BLT, 0.0))

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of the candidates of a batch of requests."""
    return self(batch, deterministic=True).logits

  def _history(self, batch: Batch, x_BLFD) -> Float[Array, "B L G D"]:
    """The history as G vectors."""
    candidate_BLGD = x_BLFD[:, :, jnp.array(self.history_columns)]
    events_BLHE = history_events(
      batch,
      self.feature_embedding,
      self.history_columns,
      self.action,
      self.num_actions,
    )
    pooled_BLE = self.pooling(
      events_BLHE.astype(self.dtype),
      candidate_BLGD.reshape(*events_BLHE.shape[:2], -1).astype(self.dtype),
      batch["history_item_BLH"] > 0,
    )
    return pooled_BLE.reshape(candidate_BLGD.shape)
