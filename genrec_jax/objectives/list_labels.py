# SPDX-License-Identifier: Apache-2.0
"""Binary cross-entropy of lists: did it follow, or is it another's?

    loss = mean over lists of  log(1 + e^z) - y z          z a list's logit

Of batches with N lists a row (data/layouts/labelled_lists.py). Parts: the loss,
and the mean logit of lists that followed and of others.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs


@dataclasses.dataclass(frozen=True)
class ListCrossEntropy:
  """See the module docstring."""

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B N"] | None = None,
    weights: Float[Array, "B N"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The mean over lists that are there."""
    del rng, items
    keep_BN = batch["labelled_BN"] > 0
    if where is not None:
      keep_BN = keep_BN & where
    # What is no list may have any logit, and 0 * nan is a gradient of nan.
    logits_BN = jnp.where(keep_BN, outputs.logits.astype(jnp.float32), 0.0)
    label_BN = batch["label_BN"].astype(jnp.float32)
    loss_BN = jax.nn.softplus(logits_BN) - label_BN * logits_BN
    loss = Mean.of(loss_BN, where=keep_BN, weights=weights)
    followed_BN = label_BN > 0
    return loss.compute(), {
      "lists": loss,
      "followed": Mean.of(logits_BN, where=keep_BN & followed_BN),
      "others": Mean.of(logits_BN, where=keep_BN & ~followed_BN),
    }
