# SPDX-License-Identifier: Apache-2.0
"""How much each label of a batch counts: what the layout says, and the caller.

weight_t = batch["weight_BL"]_t  x  weights_t        absent = 1
"""

from jaxtyping import Array, Float

from genrec_jax.core.types import Batch


def position_weights(
  batch: Batch, label: str, weights: Float[Array, "B L"] | None
) -> Float[Array, "T"] | None:
  """Weights of the labels, in a row; None where all count the same.

  Args:
    batch: a layout's.
    label: name of the items to find.
    weights: the caller's; None = 1.

  Raises:
    ValueError: the layout's weights are of other places than the labels.
  """
  own = batch.get("weight_BL")
  if own is None:
    return None if weights is None else weights.reshape(-1)
  if own.shape != batch[label].shape:
    raise ValueError(
      f"weight_BL {own.shape} weighs other places than {label!r}"
      f" {batch[label].shape}: take a loss of label_BL, or a layout without"
      " weights."
    )
  own_T = own.reshape(-1)
  return own_T if weights is None else own_T * weights.reshape(-1)
