# SPDX-License-Identifier: Apache-2.0
"""What will the user do with an item: a sequence of events and candidates.

    x_i = sum of what the token tells: E[item], action, attribute,
          M (action not known yet), P[position], R[request], G[gap],
          W [F_g[id_g] for features g of the item], W_c of its content
    z_i = head([LN(backbone(x)_i), F_f[id_f] for all features f])

a logit per task at every token. Features of user, moment and counts do not go
through the backbone but meet its output (late fusion, arXiv 2602.12354).

A layout of data/layouts/actions.py says what tokens tell and see; tables that a
model has no use for are 0 rows. HSTU's ranker: arXiv 2402.17152, section 2 (no
tables but items and actions; places and times in the attention's bias). Action-
oriented tokens: arXiv 2505.04180. Candidates are scored in one pass (M-FALCON):
`score` whole rows, or `start` a history once and `candidates` against its keys
and values as often as there are micro-batches.
"""

from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core import seams
from genrec_jax.core.resuming_seams import Kept
from genrec_jax.core.roles import ACTION, ATTRIBUTE, BOTH, CANDIDATE
from genrec_jax.core.seams import NO_LIMIT, Backbone
from genrec_jax.core.types import Batch, Outputs, SequenceInfo
from genrec_jax.layers.action_embedding import ActionEmbedding
from genrec_jax.layers.cache import Cache, Caching
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.embeddings import ItemEmbedding, count_rows
from genrec_jax.layers.feature_embedding import FeatureEmbedding
from genrec_jax.layers.further_tokens import can_extend, read_on
from genrec_jax.ops.norm import layer_norm
from genrec_jax.ops.time_buckets import BUCKET_WIDTH, time_buckets


class ActionRanker(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V; ids run from 1 to V.
    width: D.
    backbone: (x_BLD, info, deterministic) -> h_BLD; with a cache for `start`.
    heads: (h_BLD, deterministic) -> logits_BLT (layers/action_heads.py).
    num_actions: bits of the mask that tokens show.
    unknown_action: M for candidates, where the tokens of events tell both.
    num_positions: rows of P; 0 = no such table.
    num_requests: rows of R, later requests share the last; 0 = none.
    num_gaps: log buckets of the time since the request before, and one for
      what is not known; 0 = none.
    gap_width: of a bucket, in natural-log units.
    context_ids: attributes' ids; 0 = the layout puts none in front.
    feature_rows: rows of each feature's table, in the layout's order; () =
      the head reads the hidden state alone.
    history_columns: places among them of the features that tokens tell of
      their items.
    feature_width: of a feature's vector.
    content: whether tokens tell of their items' content; the layout must give
      it (`vectors` there).
    init_std: of all tables.
    row_multiple: of the item table's rows, for meshes that split it.
    dropout: on the embedded input.
    dtype: compute dtype of the backbone's input; parameters are float32.
  """

  num_items: int
  width: int
  backbone: Backbone
  heads: nn.Module
  num_actions: int
  unknown_action: bool = False
  num_positions: int = 0
  num_requests: int = 0
  num_gaps: int = 0
  gap_width: float = BUCKET_WIDTH
  context_ids: int = 0
  feature_rows: tuple[int, ...] = ()
  history_columns: tuple[int, ...] = ()
  feature_width: int = 16
  content: bool = False
  init_std: float = 0.02
  row_multiple: int = 1
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
      self.init_std,
      row_multiple=self.row_multiple,
    )
    self.action_embedding = ActionEmbedding(self.num_actions, self.width)
    rows = {
      "unknown": int(self.unknown_action),
      "position": self.num_positions,
      "request": self.num_requests,
      "gap": self.num_gaps and self.num_gaps + 1,
      "context": self.context_ids and self.context_ids + 1,
    }
    init = nn.initializers.normal(self.init_std)
    self.tables = {
      name: nn.Embed(size, self.width, embedding_init=init)
      for name, size in rows.items()
      if size
    }
    if self.feature_rows:
      self.feature_embedding = FeatureEmbedding(
        self.feature_rows,
        self.feature_width,
        self.init_std,
        self.row_multiple,
      )
    if self.history_columns:
      self.item_features = nn.Dense(self.width, use_bias=False)
    if self.content:
      self.content_in = nn.Dense(self.width, use_bias=False)
    self.input_dropout = Dropout(self.dropout)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    small = ("unknown", "position", "request", "gap", "context")
    return {
      "item_embedding/embedding": ("rows", "width"),
      "feature_embedding/embedding": ("rows", "width"),
      "item_features/kernel": (None, "width"),
      "content_in/kernel": (None, "width"),
      **{f"tables_{name}/embedding": (None, "width") for name in small},
      **ActionEmbedding.logical_axes,
      **self.heads.logical_axes,
      **self.backbone.logical_axes,
    }

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.backbone.uses_time or self.num_gaps > 0

  @property
  def reads_vectors(self) -> tuple[str, ...]:
    """Which vectors of others it reads."""
    return ("content",) if self.content else ()

  @property
  def caches_history(self) -> bool:
    """Whether `start` and `candidates` can be called."""
    return seams.offers(self.backbone, Caching)

  @property
  def max_length(self) -> int:
    """Longest example whose positions all have a vector and a bias."""
    return min(self.num_positions or NO_LIMIT, self.backbone.max_length)

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states (B, L, D) and logits (B, L, T) of every token."""
    info = SequenceInfo.from_batch(batch)
    x_BLD = self._embed(batch, deterministic)
    h_BLD = self.backbone(x_BLD, info, deterministic=deterministic)
    logits_BLT = self._logits(h_BLD, batch, deterministic)
    return Outputs(hidden=h_BLD, logits=logits_BLT)

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of the candidates of requests, which end each row."""
    count = batch["candidate_BN"].shape[1]
    logits_BLT = self(batch, deterministic=True).logits
    return logits_BLT[:, logits_BLT.shape[1] - count :]

  def start(self, batch: Batch) -> Cache:
    """What candidates need of rows of histories: their keys and values."""
    return self.resume_history((), None, batch)[0]

  @property
  def resumes(self) -> bool:
    """Whether `resume_history` can be called with what was read before."""
    return can_extend(self.backbone)

  def resume_history(
    self, kept: Kept, before: Batch | None, batch: Batch
  ) -> tuple[Cache, Kept]:
    """See core/resuming_seams.py."""
    info = SequenceInfo.from_batch(batch)
    behind = None if before is None else SequenceInfo.from_batch(before)
    # Nothing sees a candidate, so none needs a place.
    x_BND = self._embed(batch, True)
    _, cache = read_on(self.backbone, x_BND, info, kept, behind)
    return cache, cache.shared

  def candidates(self, cache: Cache, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of N candidates behind each history; see none of each other.

    Args:
      cache: of `start`.
      batch: tokens of the candidates alone, (B, N).
    """
    info = SequenceInfo.from_batch(batch)
    h_BND, _ = self.backbone.step(
      self._embed(batch, True),
      cache,
      info,
      parents_BK=jnp.zeros_like(info.segment_ids_BL),
    )
    return self._logits(h_BND, batch, True)

  def items(
    self, ids: Int[Array, "..."] | None = None
  ) -> Float[Array, "... D"]:
    """Item vectors of the ids, or of the whole table for None."""
    return self.item_embedding(ids)

  def _embed(self, batch: Batch, deterministic: bool):
    kind_BL = batch["kind_BL"]
    tells = {
      "item": batch["item_BL"] > 0,
      "action": (kind_BL == ACTION) | (kind_BL == BOTH),
      "unknown": kind_BL == CANDIDATE,
      "context": kind_BL == ATTRIBUTE,
    }
    parts = {
      "item": self.item_embedding(batch["item_BL"]),
      "action": self.action_embedding(batch["action_BL"]),
    }
    indices = self._indices(batch)
    if self.history_columns:
      found_BLGD = self.feature_embedding(
        batch["item_features_BLG"], self.history_columns
      )
      parts["item"] += self.item_features(_flat(found_BLGD))
    if self.content:
      parts["item"] += self.content_in(batch["content_BLC"])
    for name, table in self.tables.items():
      # What is beyond the last row shares it.
      last = table.num_embeddings - 1
      parts[name] = table(jnp.minimum(indices[name], last))
    x_BLD = sum(
      jnp.where(tells[name][:, :, None], part, 0) if name in tells else part
      for name, part in parts.items()
    )
    x_BLD = self.input_dropout(x_BLD, deterministic=deterministic)
    x_BLD = jnp.where(batch["segment_ids_BL"][:, :, None] > 0, x_BLD, 0)
    return x_BLD.astype(self.dtype)

  def _indices(self, batch: Batch) -> dict[str, Any]:
    """Rows of the small tables."""
    gap_BL = batch["gap_BL"]
    bucket_BL = time_buckets(gap_BL, self.gap_width, max(1, self.num_gaps))
    return {
      "unknown": jnp.zeros_like(gap_BL),
      "position": batch["positions_BL"],
      "request": batch["request_BL"],
      "gap": jnp.where(gap_BL < 0, 0, 1 + bucket_BL),
      "context": batch["context_BL"],
    }

  def _logits(self, h_BLD, batch: Batch, deterministic: bool):
    # Without it, magnitudes would grow with the number of matches and layers.
    z_BLE = layer_norm(h_BLD.astype(jnp.float32))
    if self.feature_rows:
      told_BLFD = self.feature_embedding(batch["features_BLF"])
      z_BLE = jnp.concatenate([z_BLE, _flat(told_BLFD)], axis=-1)
    return self.heads(z_BLE, deterministic)


def _flat(x_BLFD):
  return x_BLFD.reshape(*x_BLFD.shape[:2], -1)
