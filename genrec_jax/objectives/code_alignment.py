# SPDX-License-Identifier: Apache-2.0
"""What codes are trained for beside reconstruction (LETTER, arXiv 2405.07314).

CodeAlignment   -log e^{<z_i, h_i>} / sum_j e^{<z_i, h_j>}      one direction
CodeDiversity   the quantiser's own loss (layers/diverse_quantizer.py)

z are sums of codes' vectors and h other vectors of the same items; products,
not cosines, with a temperature of 1 as published. Items of which no h is known
have no loss and are nobody's negative; nor is an item its own.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.ops.precision import SCORES

_MASKED = -1e9


@dataclasses.dataclass(frozen=True)
class CodeAlignment:
  """See the module docstring.

  Attributes:
    temperature: products are divided by it.
  """

  temperature: float = 1.0

  def __post_init__(self):
    check_positive(self, "config.objective", "temperature")

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """Mean over known items."""
    del rng, items
    if "aligned_BLK" not in (outputs.aux or {}):
      raise ValueError(
        "objectives.CodeAlignment is a loss of models.Letter: make that"
        " config.system."
      )
    width = outputs.aux["aligned_BLK"].shape[-1]
    z_TK = outputs.aux["aligned_BLK"].reshape(-1, width)
    h_TK = outputs.aux["collaborative_BLK"].reshape(-1, width)
    keep_BL = (batch["segment_ids_BL"] > 0) & batch["collaborative_known_BL"]
    if where is not None:
      keep_BL = keep_BL & where
    keep_T, item_T = keep_BL.reshape(-1), batch["item_BL"].reshape(-1)
    scores_TT = jnp.matmul(z_TK, h_TK.T, precision=SCORES) / self.temperature
    own_TT = jnp.eye(len(item_T), dtype=bool)
    same_TT = (item_T[:, None] == item_T[None, :]) & ~own_TT
    out_TT = (same_TT | ~keep_T[None, :]) & ~own_TT
    scores_TT = jnp.where(out_TT, _MASKED, scores_TT)
    loss_T = jax.nn.logsumexp(scores_TT, axis=1) - jnp.diagonal(scores_TT)
    weights_T = None if weights is None else weights.reshape(-1)
    mean = Mean.of(loss_T, where=keep_T, weights=weights_T)
    return mean.compute(), {"alignment": mean}


@dataclasses.dataclass(frozen=True)
class CodeDiversity:
  """See the module docstring."""

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """Mean over real items.

    Raises:
      ValueError: a quantiser without such a loss.
    """
    del rng, items
    if "diversity_BL" not in (outputs.aux or {}):
      raise ValueError(
        "objectives.CodeDiversity is the loss of layers.DiverseQuantizer: make"
        " that config.system.quantizer."
      )
    keep_BL = batch["segment_ids_BL"] > 0
    keep_BL = keep_BL if where is None else keep_BL & where
    mean = Mean.of(outputs.aux["diversity_BL"], where=keep_BL, weights=weights)
    return mean.compute(), {"diversity": mean}
