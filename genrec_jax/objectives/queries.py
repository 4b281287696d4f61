# SPDX-License-Identifier: Apache-2.0
"""What a loss over items reads: what is asked, and the right items."""

from jaxtyping import Array, Float, Int

from genrec_jax.core.suggest import choices_hint
from genrec_jax.core.types import Batch, Outputs


def queries_and_labels(
  outputs: Outputs, batch: Batch, label: str
) -> tuple[Float[Array, "T D"], Int[Array, "T"]]:
  """Queries and labels in a row, T = B * L.

  Args:
    outputs: of the system.
    batch: the layout's.
    label: name of the items to find; 0 there = no loss.

  Raises:
    ValueError: a layout without such labels, or a system without queries.
  """
  if label not in batch:
    raise ValueError(
      f"the layout makes no {label!r}, which the objective reads."
      + choices_hint(label, sorted(batch))
    )
  if outputs.query is None:
    raise ValueError(
      "the system gives no queries, and a softmax over items needs them: use"
      " one that retrieves, such as models.NextItem."
    )
  labels_T = batch[label].reshape(-1)
  return outputs.query.reshape(labels_T.shape[0], -1), labels_T
