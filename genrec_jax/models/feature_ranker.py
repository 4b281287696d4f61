# SPDX-License-Identifier: Apache-2.0
"""Pointwise ranking: features of one impression -> a logit for every task.

    x_f = E_f[id_f]                          features of item, user and moment
    e_j = [E_g[id_gj] for g] + A bits_j      event j of the history: its item's
                                             features, and what the user did
    u   = pooling(e, c)                      c = [x_g for g], the candidate
    w   = pooling'(e', c')                   the same of the item's audience
    v   = what others have made of user and item, where it is given
          (layers/vector_features.py)
    z   = head(MLP(interactions([x, u, w, v])))    u and w as G and G' vectors

e' are the users who met the item before, c' the user: a document of users, read
where audience_columns names what they have (arXiv 2305.15333). By pooling and
interactions (layers/history_pooling.py, layers/interactions.py) it is DLRM
(arXiv 1906.00091), DIN (KDD 2018), DCN-v2 (arXiv 2008.13535) or Wukong (arXiv
2403.02545) over the rows of data/layouts/pointwise.py and audience_rows.py, and
by a stack that mixes tokens of features (layers/mixing_stack.py) RankMixer
(arXiv 2507.15551) or TokenMixer-Large (arXiv 2602.06563). Positions of a row do
not see each other.

Such a stack says more than its vector, and `aux` has what is made of it:
"routed", of its mixtures of experts; "inner_logits", by a linear head on each
inner layer (auxiliary_heads); "dense_logits", in training alone, what tower and
head make of the vector by the routers of training.
"""

from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core import seams
from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.expert_feed_forward import below
from genrec_jax.layers.feature_embedding import FeatureEmbedding
from genrec_jax.layers.history_events import action_layer, history_events
from genrec_jax.layers.mixing_stack import DeepInteraction, Met, meet
from genrec_jax.layers.mlp import Mlp
from genrec_jax.layers.vector_features import VectorFeatures
from genrec_jax.ops.precision import SCORES

# What says where a list has an event.
_WHO = {"history": "history_item_BLH", "audience": "audience_user_BLH"}


class FeatureRanker(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V; not read: items come as features, by a vocabulary.
    num_tasks: T.
    num_actions: bits of what is told of an event's action.
    feature_rows: rows of each feature's table, in the layout's order.
    history_columns: places among them of the G features that events have; none
      = no history is read.
    width: D.
    pooling: (events, candidate, where) -> u.
    interactions: (..., F + G, D) -> (..., E).
    tower_widths: of the MLP after the interactions.
    dropout: in that MLP.
    auxiliary_heads: a linear head on each inner layer of the interactions.
    embedding_init_std: of the tables.
    row_multiple: the stacked table is filled up to a multiple of it.
    audience_columns: places of the G' features that users of an item's audience
      have; none = it is not read.
    audience_pooling: of that list, with parameters of its own.
    dtype: compute dtype of the interactions' input and the MLP; parameters
      and logits are float32.
    vectors: (batch, D) -> K vectors more, of those that the layout gives
      (`vectors` there); None = it reads none.
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
  auxiliary_heads: bool = False
  embedding_init_std: float = 0.02
  row_multiple: int = 1
  audience_columns: tuple[int, ...] = ()
  audience_pooling: nn.Module | None = None
  dtype: str = "float32"
  vectors: VectorFeatures | None = None

  item_tables = ()
  uses_time = False
  # Positions do not see each other: any number fits.
  max_length = NO_LIMIT

  def __post_init__(self):
    super().__post_init__()
    if bool(self.audience_columns) != (self.audience_pooling is not None):
      raise ValueError(
        f"config.system.audience_columns={self.audience_columns} and"
        " audience_pooling belong together: name both, or neither."
      )
    if self._is_deep and (self.audience_columns or self.vectors is not None):
      raise ValueError(
        "config.system.interactions groups vectors by the names of features,"
        " and what audience_columns and vectors add has none: leave them out,"
        " or take other interactions."
      )
    if self.auxiliary_heads and not self._num_heads:
      raise ValueError(
        "config.system.auxiliary_heads are of inner layers, and"
        " config.system.interactions gives vectors of none: set its"
        " inter_layer."
      )

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
    self.audience_action = action_layer(
      len(self.audience_columns) * self.width, self.embedding_init_std
    )
    self.tower = Mlp(self.tower_widths, self.dropout, self.dtype)
    self.head = nn.Dense(self.num_tasks, precision=SCORES)
    self.inner_heads = [
      nn.Dense(self.num_tasks, precision=SCORES) for _ in range(self._num_heads)
    ]

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """The table is what is large, and what interactions say of themselves;
    other matrices are small and stay whole."""
    axes = self.interactions.logical_axes if self._is_deep else {}
    return {
      "feature_embedding/embedding": ("rows", "width"),
      **{f"interactions/{path}": names for path, names in axes.items()},
      "kernel": (None, None),
    }

  @property
  def vector_names(self) -> tuple[str, ...] | None:
    """What interactions call the vectors that meet; None = they do not."""
    return self.interactions.feature_names if self._is_deep else None

  @property
  def _is_deep(self) -> bool:
    return seams.offers(self.interactions, DeepInteraction)

  @property
  def _num_heads(self) -> int:
    """On inner layers."""
    wanted = self.auxiliary_heads and self._is_deep
    return self.interactions.num_inner if wanted else 0

  @property
  def reads_vectors(self) -> tuple[str, ...]:
    """Which vectors of others it reads."""
    return () if self.vectors is None else self.vectors.reads

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, T) in float32; 0 at padding."""
    x_BLFD = self.feature_embedding(batch["features_BLF"])
    pooled = []
    if self.history_columns:
      parts = self.history_columns, self.action, self.pooling
      pooled.append(self._pooled(batch, x_BLFD, "history", *parts))
    if self.audience_columns:
      parts = self.audience_columns, self.audience_action, self.audience_pooling
      pooled.append(self._pooled(batch, x_BLFD, "audience", *parts))
    x_BLFD = jnp.concatenate([x_BLFD, *pooled], axis=2)
    return self._outputs(x_BLFD, batch, deterministic)

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of the candidates of a batch of requests."""
    return self(batch, deterministic=True).logits

  def _outputs(self, x_BLVD, batch: Batch, deterministic: bool) -> Outputs:
    """What the vectors of each position make together."""
    if self.vectors is not None:
      told_BLKD = self.vectors(batch, self.width)
      x_BLVD = jnp.concatenate([x_BLVD, told_BLKD], axis=2)
    valid_BL = batch["segment_ids_BL"] > 0
    x_BLVD = x_BLVD.astype(self.dtype)
    met = meet(self.interactions, x_BLVD, valid_BL, deterministic)
    h_BLE, logits_BLT = self._judged(met.vector, deterministic)
    aux = self._aux(met, deterministic)
    routed = [below("interactions", one) for one in met.routed]
    return Outputs(
      hidden=h_BLE,
      logits=jnp.where(valid_BL[:, :, None], logits_BLT, 0.0),
      aux=aux or None,
      assign={p: pair for one in routed for p, pair in one.assign.items()},
    )

  def _judged(self, vector_BLE, deterministic):
    """What tower and head make of what comes of the features."""
    h_BLE = self.tower(vector_BLE, deterministic=deterministic)
    return h_BLE, self.head(h_BLE.astype(jnp.float32))

  def _aux(self, met: Met, deterministic: bool) -> dict[str, Any]:
    """What else is made of it."""
    aux = {"routed": met.routed} if met.routed else {}
    if self.inner_heads:
      aux["inner_logits"] = tuple(
        head(vector.astype(jnp.float32))
        for head, vector in zip(self.inner_heads, met.inner, strict=True)
      )
    if met.dense is not None:
      aux["dense_logits"] = self._judged(met.dense, deterministic)[1]
    return aux

  def _pooled(
    self, batch, x_BLFD, of, columns, action, pooling
  ) -> Float[Array, "B L G D"]:
    """A list as G vectors, seen from what is asked about."""
    asked_BLGD = x_BLFD[:, :, jnp.array(columns)]
    events_BLHE = history_events(
      batch, self.feature_embedding, columns, action, self.num_actions, of
    )
    pooled_BLE = pooling(
      events_BLHE.astype(self.dtype),
      asked_BLGD.reshape(*events_BLHE.shape[:2], -1).astype(self.dtype),
      batch[_WHO[of]] > 0,
    )
    return pooled_BLE.reshape(asked_BLGD.shape)
