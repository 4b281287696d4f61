# SPDX-License-Identifier: Apache-2.0
"""Items as codes, generated behind all that is told of a history.

    slot of an event   c_0 .. c_{M-1} + W [E(features); E(q)] + A actions
    slot of the user   c_0 .. c_{M-1} + MLP E(features)

A slot is M tokens of width D: what is told is made as wide as all of them and
added, which with a backbone that joins them (backbones/lazy_decoder.py) is the
same as standing beside them. The user's slot has codes that say nothing. The
rest is models/token_seq2seq.py's, and what is told data/layouts/
told_context.py's; OneRec-V2 (arXiv 2508.20900, section 2).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from genrec_jax.core.types import Batch, SequenceInfo
from genrec_jax.layers.action_embedding import ActionEmbedding
from genrec_jax.layers.feature_embedding import FeatureEmbedding
from genrec_jax.models.token_seq2seq import TokenSeq2Seq


class ContextSeq2Seq(TokenSeq2Seq, kw_only=True):
  """See the module docstring; other attributes are TokenSeq2Seq's.

  Attributes:
    feature_rows: rows of each feature's table, F of them.
    history_columns: places among them of the events' features.
    num_actions: bits of an event's mask.
    watch_buckets: of q; 0 = it is not told.
    feature_width: of a feature's vector.
    profile_width: hidden width of what makes the user's slot.
  """

  feature_rows: tuple[int, ...]
  history_columns: tuple[int, ...]
  num_actions: int
  watch_buckets: int = 0
  feature_width: int = 16
  profile_width: int = 64

  def setup(self):
    super().setup()
    slot = len(self.level_sizes) * self.width
    self.features = FeatureEmbedding(self.feature_rows, self.feature_width)
    self.action_embedding = ActionEmbedding(self.num_actions, slot)
    self.watched = FeatureEmbedding(
      (self.watch_buckets + 1,), self.feature_width
    )
    small = nn.initializers.normal(0.02)
    self.event_out = nn.Dense(slot, use_bias=False, kernel_init=small)
    self.profile_in = nn.Dense(self.profile_width)
    self.profile_out = nn.Dense(slot, kernel_init=small)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "features/embedding": ("rows", "width"),
      "watched/embedding": (None, None),
      "event_out/kernel": (None, "width"),
      "profile_in/kernel": (None, "hidden"),
      "profile_out/kernel": ("hidden", "width"),
      **ActionEmbedding.logical_axes,
      **super().logical_axes,
    }

  def _tokens(self, batch: Batch, added_BLD=None) -> tuple[Array, SequenceInfo]:
    told_BLD = self._told(batch)
    if added_BLD is not None:
      told_BLD = told_BLD + added_BLD
    return super()._tokens(batch, told_BLD)

  def _told(self, batch: Batch) -> Array:
    """What is told, for each token (B, L, D)."""
    events = self.features(batch["event_features_BNG"], self.history_columns)
    watched = self.watched(batch["event_watched_BN"][:, :, None])
    slots = batch["event_watched_BN"].shape
    beside_BNE = jnp.concatenate([events, watched], axis=2)
    event_BNX = self.event_out(beside_BNE.reshape(*slots, -1))
    event_BNX = event_BNX + self.action_embedding(batch["event_action_BN"])
    user = self.features(batch["user_features_BNF"]).reshape(*slots, -1)
    user_BNX = self.profile_out(nn.leaky_relu(self.profile_in(user)))
    mine_BN1 = batch["profile_BN"][:, :, None] > 0
    told_BNX = jnp.where(mine_BN1, user_BNX, event_BNX)
    return told_BNX.reshape(slots[0], -1, self.width)
