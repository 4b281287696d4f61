# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of the next token, by how much labels of each type count.

    loss = sum_t w_t (- log p(label_t | before, type of label_t)) / sum_t w_t

The weights are the batch's (weight_BL of data/layouts/typed_tokens.py), by type
and by what came of an item; a label of weight 0 is not asked for, and nothing
is learned of it. Parts are the weighted means of each type.
"""

import dataclasses

from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs

Parts = dict[str, Mean]


@dataclasses.dataclass(frozen=True)
class TypedCrossEntropy:
  """See the module docstring.

  The model gives in `aux` the log-probability of every label,
  "label_log_p_BL", and "types", the number of each type by its name.
  """

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """Mean over labels; parts: it, and the mean of each type."""
    del rng, items
    loss_BL = -outputs.aux["label_log_p_BL"]
    weight_BL = batch["weight_BL"]
    if weights is not None:
      weight_BL = weight_BL * weights
    total = Mean.of(loss_BL, where=where, weights=weight_BL)
    parts = {"tokens": total}
    for name, kind in outputs.aux["types"].items():
      mine_BL = batch["label_type_BL"] == kind
      if where is not None:
        mine_BL = mine_BL & where
      parts[name] = Mean.of(loss_BL, where=mine_BL, weights=weight_BL)
    return total.compute(), parts
