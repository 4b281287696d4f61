# SPDX-License-Identifier: Apache-2.0
"""InfoNCE within a batch: a vector's partner against the others' partners.

    -log e^{<a_t, p_t> / temperature} / sum_s e^{<a_t, p_s> / temperature}

on l2-normalised vectors (van den Oord et al., arXiv 1807.03748; for codes of
items that occur together: PLUM, arXiv 2510.07784). Partners that are the same
item as t or as t's own partner are no negatives.
Shapes: T vectors of width D.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.types import Mean
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES

_MASKED = -1e9


@dataclasses.dataclass(frozen=True)
class InBatchContrastive:
  """Options of the loss.

  Attributes:
    weight: of the loss beside others.
    temperature: scores are divided by it.
    quantized: compare the codes' vectors; False: what is coded.
  """

  weight: float = 1.0
  temperature: float = 0.1
  quantized: bool = True

  def __post_init__(self):
    check_positive(self, "config.objective.contrastive", "temperature")

  def __call__(
    self,
    anchor_TD: Float[Array, "T D"],
    partner_TD: Float[Array, "T D"],
    item_T: Int[Array, "T"],
    partner_T: Int[Array, "T"],
    where_T: Bool[Array, "T"],
  ) -> Mean:
    """The mean loss of anchors that have a partner (partner_T > 0).

    Args:
      anchor_TD: vectors of items.
      partner_TD: vectors of their partners.
      item_T: the items.
      partner_T: their partners; 0 = none.
      where_T: which items are real.
    """
    where_T = where_T & (partner_T > 0)
    scores_TT = jnp.matmul(
      l2_normalize(anchor_TD), l2_normalize(partner_TD).T, precision=SCORES
    )
    scores_TT = scores_TT / self.temperature
    same_TT = item_T[:, None] == partner_T[None, :]
    same_TT = same_TT | (partner_T[:, None] == partner_T[None, :])
    own_TT = jnp.eye(len(item_T), dtype=bool)
    out_TT = (same_TT | ~where_T[None, :]) & ~own_TT
    scores_TT = jnp.where(out_TT, _MASKED, scores_TT)
    loss_T = jax.nn.logsumexp(scores_TT, axis=1) - jnp.diagonal(scores_TT)
    return Mean.of(loss_T, where=where_T)
