# SPDX-License-Identifier: Apache-2.0
"""Vectors that others have made, as features of a ranker: (B, L, K, D).

    W_o o_q    for each query q       what the user would want (answers)
    W_s s      s_q = <o_q, e>         how well the item answers each (scores)
    W_e e                             the item, in the same space (item)
    W_c c                             what the item is made of (content)

o_q and e are of one model, whose cosines the scores are; none of it is trained
here. No W has a bias: a vector of zeros, of nobody or of an item that was not
known, adds nothing. LUM (arXiv 2502.08309) gives a ranker answers
and scores; data/layouts/vector_columns.py gives the arrays.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.types import Batch
from genrec_jax.ops.precision import SCORES


class VectorFeatures(nn.Module):
  """See the module docstring.

  Attributes:
    answers: whether a ranker has the answers, one vector each.
    scores: likewise their products with the item, together one vector.
    item: likewise the item's vector.
    content: likewise that of its content.
  """

  answers: bool = True
  scores: bool = True
  item: bool = True
  content: bool = False

  def __post_init__(self):
    super().__post_init__()
    if not self.reads:
      raise ValueError(
        "config.system.vectors reads nothing: switch on one of answers, scores,"
        " item and content, or leave it out."
      )

  @property
  def reads(self) -> tuple[str, ...]:
    """Which vectors it reads, as data/layouts/vector_columns.py has them."""
    users = self.answers or self.scores or self.item
    return (("users",) if users else ()) + (
      ("content",) if self.content else ()
    )

  @nn.compact
  def __call__(self, batch: Batch, width: int) -> Float[Array, "B L K D"]:
    """K vectors of width D of every position."""

    def mapped(x, name):
      return nn.Dense(width, use_bias=False, name=name)(x)

    found = []
    if "users" in self.reads:
      o_BLQE, e_BLE = batch["user_vectors_BLQE"], batch["item_vector_BLE"]
      if self.answers:
        found.append(mapped(o_BLQE, "answers_in"))
      if self.scores:
        s_BLQ = jnp.einsum("blqe,ble->blq", o_BLQE, e_BLE, precision=SCORES)
        found.append(mapped(s_BLQ, "scores_in")[:, :, None])
      if self.item:
        found.append(mapped(e_BLE, "item_in")[:, :, None])
    if self.content:
      found.append(mapped(batch["content_BLC"], "content_in")[:, :, None])
    return jnp.concatenate(found, axis=2)
