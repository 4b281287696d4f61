# SPDX-License-Identifier: Apache-2.0
"""Binary cross-entropy of what users did with items, one logit per task.

    loss = sum_t w_t mean over labelled positions of
           - y_t log s(z_t) - (1 - y_t) log(1 - s(z_t))        s: sigmoid

y_t is bit t of the position's mask (data/dataset/feedback.py), z_t its logit.
HSTU's ranking loss (arXiv 2402.17152, section 2.2), and that of every pointwise
model. Labels may weigh by recency or slot (objectives/label_weights.py).

Where an item in slot k is only looked at with chance P_k, a click y has the
mean P_k r, and r is what a ranker should know. With y / P_k in place of y, of
mean r, the loss is on average that of r itself: its minimum over constants is
the mean of y / P_k (Joachims et al., WSDM 2017, for a pointwise loss).

    outputs.logits (B, L, T)   label_BL: bit masks   labelled_BL: 1 = counts
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core import seams
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.label_weights import ByPropensity, LabelWeight

Parts = dict[str, Mean]


def task_labels(
  mask_BL: Int[Array, "B L"], num_tasks: int
) -> Float[Array, "B L T"]:
  """Bits of a mask as 0.0 and 1.0, the lowest first."""
  shift_T = jnp.arange(num_tasks, dtype=mask_BL.dtype)
  bits_BLT = jnp.right_shift(mask_BL[..., None], shift_T[None, None, :]) & 1
  return bits_BLT.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class BinaryCrossEntropy:
  """See the module docstring.

  Attributes:
    tasks: names of the logits, as in the layout's feedback.
    weights: of the tasks in the sum; None = 1 each.
    label_weights: a LabelWeight each, multiplied; means are over their sum.
    propensities: a ByPropensity, of the chances that labels are divided by;
      None = 1.
  """

  tasks: tuple[str, ...]
  weights: tuple[float, ...] | None = None
  label_weights: tuple[Any, ...] = ()
  propensities: Any = None

  def __post_init__(self):
    if self.weights is not None and len(self.weights) != len(self.tasks):
      raise ValueError(
        f"weights={self.weights} are {len(self.weights)} for the"
        f" {len(self.tasks)} tasks {self.tasks}; give one each."
      )
    for part in self.label_weights:
      seams.require(part, LabelWeight, "config.objective.label_weights")
    # What else weighs labels has the same method, and would pass for it.
    if not isinstance(self.propensities, ByPropensity | None):
      raise ValueError(
        f"config.objective.propensities={self.propensities!r} must be an"
        " objectives.ByPropensity, or None."
      )

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
    """Weighted sum of the tasks' means; parts: each task's own mean.

    Args:
      outputs: of the system; logits are read.
      batch: label_BL and labelled_BL are read, and what label weights and
        propensities read.
      rng, items: not used.
      where: drops positions.
      weights: of the positions in every mean.

    Raises:
      ValueError: another number of logits than tasks.
    """
    del rng, items
    num_tasks = len(self.tasks)
    if outputs.logits.shape[-1] != num_tasks:
      raise ValueError(
        f"the system gives {outputs.logits.shape[-1]} logits, and the"
        f" objective has {num_tasks} tasks {self.tasks}; make them equal."
      )
    keep_BL = batch["labelled_BL"] > 0
    if where is not None:
      keep_BL = keep_BL & where
    # Padding may hold anything, and 0 * nan is a gradient of nan.
    logits_BLT = jnp.where(
      keep_BL[..., None], outputs.logits.astype(jnp.float32), 0.0
    )
    labels_BLT = task_labels(batch["label_BL"], num_tasks)
    if self.propensities is not None:
      labels_BLT = labels_BLT * self.propensities.of(batch)[..., None]
    for part in self.label_weights:
      own_BL = part.of(batch)
      weights = own_BL if weights is None else weights * own_BL
    # log(1 + e^z) - y z: no overflow at either end.
    loss_BLT = jax.nn.softplus(logits_BLT) - labels_BLT * logits_BLT
    parts = {
      task: Mean.of(loss_BLT[..., t], where=keep_BL, weights=weights)
      for t, task in enumerate(self.tasks)
    }
    shares = self.weights or (1.0,) * num_tasks
    loss = sum(
      (
        w * part.compute()
        for w, part in zip(shares, parts.values(), strict=True)
      ),
      start=jnp.float32(0),
    )
    return loss, parts
