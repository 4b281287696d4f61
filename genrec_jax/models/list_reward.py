# SPDX-License-Identifier: Apache-2.0
"""How likely a list is what a user takes next: a reward of whole lists.

    u_i = softmax_l(<W_q v_i, W_k h_l>) W_v h_l      the history by item i
    e_i = v_i * u_i + v_i                            items as the user sees them
    r   = MLP(sum_i (e + SelfAttention(e))_i)        a logit of the list

OneRec v1's reward model (arXiv 2502.18965): user-aware items that attend to one
another, and a sum over them. There is no place of an item in it, so that any
order of a list has the same reward. The publication multiplies by a vector of
the user's features; here the history is all that is known of one, and each item
looks at it by itself, or a mean over it could not tell that an item was there.
Trained on lists that followed and lists that did not
(data/layouts/labelled_lists.py) by objectives.ListCrossEntropy.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.dropout import Dropout

_NOTHING = -1e9


class ListReward(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V.
    width: D.
    max_length: longest history.
    num_heads: of attention among items.
    hidden_width: of the last layers.
    dropout: on item vectors, and on the sum.
    embedding_init_std: of the item table.
    row_multiple: the table's rows are filled up to a multiple of it.
  """

  num_items: int
  width: int
  max_length: int
  num_heads: int = 4
  hidden_width: int = 128
  dropout: float = 0.0
  embedding_init_std: float = 0.05
  row_multiple: int = 1

  uses_time = False
  item_tables = (("table",),)
  logical_axes = {"table": ("rows", "width")}

  def setup(self):
    rows = self.num_items + 1
    rows += -rows % self.row_multiple
    self.table = self.param(
      "table",
      nn.initializers.normal(self.embedding_init_std),
      (rows, self.width),
      jnp.float32,
    )

    def dense(features):
      return nn.Dense(features, use_bias=False)

    self.query, self.key, self.value = (dense(self.width) for _ in range(3))
    self.item_query, self.item_key, self.item_value, self.item_out = (
      dense(self.width) for _ in range(4)
    )
    self.norm, self.last_norm = nn.RMSNorm(), nn.RMSNorm()
    self.hidden, self.logit = nn.Dense(self.hidden_width), nn.Dense(1)
    self.drop = Dropout(self.dropout)

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, N) of the batch's lists."""
    return self._of(batch, batch["list_item_BNJ"], deterministic)

  def reward(
    self, batch: Batch, item_GKN: Int[Array, "G K N"]
  ) -> Float[Array, "G K"]:
    """See core/model_seams.py: ListRewardModel."""
    return jax.nn.sigmoid(self._of(batch, item_GKN, True).logits)

  def _of(self, batch, items_BNJ, deterministic):
    history_BL = batch["item_BL"]
    h_BLD = self.drop(self.table[history_BL], deterministic=deterministic)
    v_BNJD = self.drop(self.table[items_BNJ], deterministic=deterministic)
    scores = jnp.einsum("bnjd,bld->bnjl", self.query(v_BNJD), self.key(h_BLD))
    seen_BL = batch["segment_ids_BL"] > 0
    weights = _softmax(scores * self.width**-0.5, seen_BL[:, None, None])
    u_BNJD = jnp.einsum("bnjl,bld->bnjd", weights, self.value(h_BLD))
    e_BNJD = v_BNJD * u_BNJD + v_BNJD
    there_BNJ = items_BNJ > 0
    e_BNJD = e_BNJD + self._among(self.norm(e_BNJD), there_BNJ)
    sum_BND = jnp.sum(e_BNJD, axis=2, where=there_BNJ[..., None])
    sum_BND = self.drop(self.last_norm(sum_BND), deterministic=deterministic)
    logits_BN = self.logit(nn.silu(self.hidden(sum_BND)))[..., 0]
    return Outputs(hidden=sum_BND, logits=logits_BN.astype(jnp.float32))

  def _among(self, x_BNJD, there_BNJ):
    """What the items of a list see of one another."""
    heads = self.num_heads

    def split(x):
      return x.reshape(*x.shape[:-1], heads, -1)

    q, k, v = (
      split(part(x_BNJD))
      for part in (self.item_query, self.item_key, self.item_value)
    )
    scores = jnp.einsum("bnihe,bnjhe->bnhij", q, k) * q.shape[-1] ** -0.5
    weights = _softmax(scores, there_BNJ[:, :, None, None])
    y = jnp.einsum("bnhij,bnjhe->bnihe", weights, v)
    return self.item_out(y.reshape(x_BNJD.shape))


def _softmax(scores, where):
  """Over the last axis; 0 where there is nothing."""
  weights = jax.nn.softmax(jnp.where(where, scores, _NOTHING))
  return jnp.where(where, weights, 0.0)
