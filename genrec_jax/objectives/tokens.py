# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of an item's codes, one softmax per level.

    loss = mean over targets of  - sum_m log p(c_m | history, c_0 .. c_{m-1})

The sum over levels is -log p(item), where codes are unique. A temperature below
1 puts more weight on hard negatives (LETTER's ranking-guided loss, arXiv
2405.07314, section 3.3).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs

Parts = dict[str, Mean]


@dataclasses.dataclass(frozen=True)
class CodeCrossEntropy:
  """See the module docstring.

  Attributes:
    temperature: logits are divided by it.
    label_smoothing: share of the target's mass that all codes of its level
      split evenly.
  """

  temperature: float = 1.0
  label_smoothing: float = 0.0

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B S"] | None = None,
    weights: Float[Array, "B S"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """Mean over targets; parts: the sum, and each level's own mean."""
    del rng, items
    labels_BSM = batch["target_codes_BSM"]
    keep_BS = batch["target_item_BS"] > 0
    if where is not None:
      keep_BS = keep_BS & where
    log_p_BSMC = jax.nn.log_softmax(
      outputs.logits.astype(jnp.float32) / self.temperature
    )
    loss_BSM = -jnp.take_along_axis(log_p_BSMC, labels_BSM[..., None], axis=-1)[
      ..., 0
    ]
    if self.label_smoothing:
      # Codes that a level does not have hold no mass to be evened out.
      real = log_p_BSMC > -1e6
      even_BSM = -jnp.mean(log_p_BSMC, axis=-1, where=real)
      loss_BSM += self.label_smoothing * (even_BSM - loss_BSM)
    total = Mean.of(jnp.sum(loss_BSM, axis=-1), where=keep_BS, weights=weights)
    parts = {"codes": total}
    for level in range(labels_BSM.shape[-1]):
      parts[f"level_{level}"] = Mean.of(
        loss_BSM[..., level], where=keep_BS, weights=weights
      )
    return total.compute(), parts
