# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of an item's codes, one softmax per level.

    loss = mean over targets of  - sum_m log p(c_m | history, c_0 .. c_{m-1})

The sum over levels is -log p(item), where codes are unique. With
`over_children` a softmax is over the codes that some item has behind the
target's before it (SEATER, arXiv 2309.13375): probabilities of all items then
sum to 1, and a code without an alternative costs nothing. `level_mean` divides
the sum by M (OneRec-V2, arXiv 2508.20900). A temperature below
1 puts more weight on hard negatives (LETTER's ranking-guided loss, arXiv
2405.07314, section 3.3).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_positive, check_shares
from genrec_jax.core.types import Batch, Items, Mean, Outputs

Parts = dict[str, Mean]

_NO_CHILD = -1e9


@dataclasses.dataclass(frozen=True)
class CodeCrossEntropy:
  """See the module docstring.

  Attributes:
    temperature: logits are divided by it.
    label_smoothing: share of the target's mass that all codes of its level
      split evenly.
    over_children: the batch says which codes these are ("children_BSMC", see
      data/layouts/semantic_ids.py: num_codes). Search likewise, by
      retrieval.OverChildren.
    level_mean: the mean over levels in place of the sum.
  """

  temperature: float = 1.0
  label_smoothing: float = 0.0
  over_children: bool = False
  level_mean: bool = False

  def __post_init__(self):
    check_positive(self, "config.objective", "temperature")
    check_shares(self, "config.objective", "label_smoothing")

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
    """Mean over targets; parts: the sum, and each level's own mean.

    Raises:
      ValueError: a system or a layout without codes.
    """
    del rng, items
    if outputs.logits is None or "target_codes_BSM" not in batch:
      raise ValueError(
        "objectives.CodeCrossEntropy reads logits and codes of items: use a"
        " system that generates, such as models.TokenDecoder, and a layout of"
        " codes, such as layouts.TokenHistory."
      )
    labels_BSM = batch["target_codes_BSM"]
    keep_BS = batch["target_item_BS"] > 0
    if where is not None:
      keep_BS = keep_BS & where
    logits_BSMC = outputs.logits.astype(jnp.float32) / self.temperature
    if self.over_children:
      if "children_BSMC" not in batch:
        raise ValueError(
          "objective.over_children asks the batch for the codes that can"
          " follow: set config.pipeline.layout.num_codes."
        )
      logits_BSMC = jnp.where(batch["children_BSMC"], logits_BSMC, _NO_CHILD)
    log_p_BSMC = jax.nn.log_softmax(logits_BSMC)
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
    levels = labels_BSM.shape[-1] if self.level_mean else 1
    return total.compute() / levels, parts
