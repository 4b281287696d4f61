# SPDX-License-Identifier: Apache-2.0
"""Two towers: what a user would like, and what an item is, meet in a dot.

    q_t(user, moment) = W_t MLP([E_f[id_f] of user and moment, pooled history])
    v(item)           = W MLP([E_f[id_f] of the item])
    z_t               = <q_t, v> + b_t              a logit for every task
    query             = sum_t w_t q_t               of the items to retrieve

A user's side never reads the item, so that items are vectors to search among
(Yi et al., RecSys 2019; Covington et al., RecSys 2016). Features and history
are those of models/feature_ranker.py, in one table for both towers; events are
added up, as no candidate is there to ask. What an item is comes with the
parameters: `item_features`, table rows by item id, are set from the catalogue
before training and never trained.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
import numpy as np

from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.feature_embedding import FeatureEmbedding
from genrec_jax.layers.history_events import action_layer, history_events
from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.mlp import Mlp
from genrec_jax.ops.precision import SCORES

# Rows are kept as float32, as all parameters are.
_EXACT = 2**24


class TwoTower(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V.
    num_tasks: T.
    num_actions: bits of what is told of an event's action.
    feature_rows: rows of each feature's table, in the layout's order.
    item_columns: places among them of the items' features.
    history_columns: places of those that events have.
    width: of a feature's vector.
    vector_width: D, of queries and items.
    tower_widths: of the hidden layers of either tower.
    query_weights: w_t; None = 1 each.
    dropout: in both towers.
    embedding_init_std: of the table.
    row_multiple: the table is filled up to a multiple of it.
    dtype: compute dtype of the towers; vectors and logits are float32.
  """

  num_items: int
  num_tasks: int
  num_actions: int
  feature_rows: tuple[int, ...]
  item_columns: tuple[int, ...]
  history_columns: tuple[int, ...]
  width: int
  vector_width: int = 32
  tower_widths: tuple[int, ...] = (128, 64)
  query_weights: tuple[float, ...] | None = None
  dropout: float = 0.0
  embedding_init_std: float = 0.02
  row_multiple: int = 1
  dtype: str = "float32"

  item_tables = ()
  constants = ("item_features",)
  uses_time = False
  # Positions do not see each other: any number fits.
  max_length = NO_LIMIT

  def __post_init__(self):
    super().__post_init__()
    weights = self.query_weights
    if weights is not None and len(weights) != self.num_tasks:
      raise ValueError(
        f"query_weights={weights} are {len(weights)} for {self.num_tasks}"
        " tasks: give one each."
      )
    if not self.item_columns:
      raise ValueError(
        "a two-tower system needs features of items: name one, such as"
        " item.id, in config.pipeline.layout.features."
      )

  def setup(self):
    self.feature_embedding = FeatureEmbedding(
      self.feature_rows,
      self.width,
      self.embedding_init_std,
      self.row_multiple,
    )
    self.item_features = self.param(
      "item_features",
      nn.initializers.zeros,
      (self.num_items + 1, len(self.item_columns)),
      jnp.float32,
    )
    self.action = action_layer(
      len(self.history_columns) * self.width, self.embedding_init_std
    )
    self.pooling = SumPooling()
    self.user_tower = Mlp(self.tower_widths, self.dropout, self.dtype)
    self.item_tower = Mlp(self.tower_widths, self.dropout, self.dtype)
    self.user_head = nn.Dense(
      self.num_tasks * self.vector_width, precision=SCORES
    )
    self.item_head = nn.Dense(self.vector_width, precision=SCORES)
    self.task_bias = self.param(
      "task_bias", nn.initializers.zeros, (self.num_tasks,), jnp.float32
    )

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """The table is what is large; matrices are small and stay whole."""
    return {
      "feature_embedding/embedding": ("rows", "width"),
      "item_features": (None, None),
      "kernel": (None, None),
    }

  def data_init(
    self,
    params: Mapping[str, Any],
    item_features: Int[np.ndarray, "V1 G"],
    key: Key[Array, ""],
  ) -> dict[str, Any]:
    """Fresh parameters with the features of the catalogue's items.

    Raises:
      ValueError: features of another catalogue, or rows beyond 2^24.
    """
    del key
    shape = params["item_features"].shape
    if item_features.shape != shape:
      raise ValueError(
        f"features of items are {item_features.shape}, and the system is built"
        f" for {shape}: items and a row of padding, and item_columns."
      )
    if item_features.max(initial=0) >= _EXACT:
      raise ValueError(
        f"a feature has a row {item_features.max()}: rows of an item's feature"
        f" must be below {_EXACT:,}, which float32 counts exactly. Hash it to"
        " fewer."
      )
    return {**params, "item_features": jnp.asarray(item_features, jnp.float32)}

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Queries (B, L, D) and logits (B, L, T) in float32; 0 at padding."""
    query_BLTD = self._queries(batch, deterministic)
    places = jnp.array(self.item_columns)
    item_BLD = self._vectors(batch["features_BLF"][:, :, places], deterministic)
    logits_BLT = jnp.einsum(
      "bltd,bld->blt", query_BLTD, item_BLD, precision=SCORES
    )
    logits_BLT = logits_BLT + self.task_bias[None, None]
    valid_BL1 = (batch["segment_ids_BL"] > 0)[:, :, None]
    return Outputs(
      query=jnp.where(valid_BL1, self._weighted(query_BLTD), 0.0),
      item=item_BLD,
      logits=jnp.where(valid_BL1, logits_BLT, 0.0),
    )

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of the candidates of a batch of requests."""
    return self(batch, deterministic=True).logits

  def query(self, batch: Batch) -> Float[Array, "B D"]:
    """Query vectors of requests, one position a row."""
    return self._weighted(self._queries(batch, True))[:, 0]

  def items(self, ids: Int[Array, "*b"] | None = None) -> Float[Array, "*b D"]:
    """Item vectors of the ids, or of all (V + 1, D) for None."""
    features = jax.lax.stop_gradient(self.item_features)
    rows = features if ids is None else features[ids]
    return self._vectors(rows.astype(jnp.int32), True)

  def _weighted(self, query_BLTD):
    weights = self.query_weights or (1.0,) * self.num_tasks
    return jnp.einsum(
      "bltd,t->bld", query_BLTD, jnp.array(weights), precision=SCORES
    )

  def _queries(self, batch: Batch, deterministic: bool):
    """Vectors (B, L, T, D) of what is known before the item."""
    places = tuple(
      f for f in range(len(self.feature_rows)) if f not in self.item_columns
    )
    features_BLF = batch["features_BLF"][:, :, np.array(places, int)]
    x_BLFD = self.feature_embedding(features_BLF, places)
    parts = [x_BLFD.reshape(*x_BLFD.shape[:2], -1)]
    if self.history_columns:
      parts.append(self._history(batch))
    h_BLE = jnp.concatenate(parts, axis=-1).astype(self.dtype)
    h_BLE = self.user_tower(h_BLE, deterministic=deterministic)
    query_BLE = self.user_head(h_BLE.astype(jnp.float32))
    return query_BLE.reshape(*query_BLE.shape[:2], self.num_tasks, -1)

  def _history(self, batch: Batch) -> Float[Array, "B L E"]:
    """The sum of the events, items and actions."""
    events_BLHE = history_events(
      batch,
      self.feature_embedding,
      self.history_columns,
      self.action,
      self.num_actions,
    )
    nobody = jnp.zeros((*events_BLHE.shape[:2], events_BLHE.shape[-1]))
    return self.pooling(events_BLHE, nobody, batch["history_item_BLH"] > 0)

  def _vectors(self, features_G, deterministic: bool):
    """Item vectors of rows of their features."""
    x_GD = self.feature_embedding(features_G, self.item_columns)
    x_E = x_GD.reshape(*x_GD.shape[:-2], -1).astype(self.dtype)
    h_E = self.item_tower(x_E, deterministic=deterministic)
    return self.item_head(h_E.astype(jnp.float32))
