# SPDX-License-Identifier: Apache-2.0
"""Losses of logits that a model gives beside those that it serves.

    AuxLogits      the loss of other logits: heads of inner layers, or a pass by
                   routers of training alone; the mean where there are several
    Distillation   sum_t mean over labelled positions of KL(p_t || s(z_t)),
                   p_t = s(other logits) a constant, s the sigmoid

Such logits are in outputs.aux by their names: "inner_logits", a tuple, and
"dense_logits" (models/feature_ranker.py). A model that is trained densely and
served sparsely learns by the mean of both passes' losses,

    WeightedSum: 1/2 loss + 1/2 AuxLogits(loss, "dense_logits") + routing

or its serving pass learns from the dense one,

    WeightedSum: AuxLogits(loss, "dense_logits") + Distillation + routing

RankMixer (arXiv 2507.15551) has two routers and does not say by which loss the
serving one learns; by a penalty alone it would close all gates. Auxiliary heads
are TokenMixer-Large's (arXiv 2602.06563).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core import seams
from genrec_jax.core.types import Batch, Items, Mean, Outputs

Parts = dict[str, Mean]


def _logits(outputs: Outputs, of: str) -> tuple[Array, ...]:
  """The logits of a name; ValueError where the model gives none."""
  aux = outputs.aux or {}
  found = aux.get(of)
  if found is None:
    there = ", ".join(n for n in aux if n.endswith("_logits")) or "none"
    raise ValueError(
      f"config.objective is of {of!r}, which config.system does not give: its"
      f" other logits are {there}."
    )
  return found if isinstance(found, tuple) else (found,)


@dataclasses.dataclass(frozen=True)
class AuxLogits:
  """See the module docstring.

  Attributes:
    objective: a loss of logits.
    of: name of the logits that it is of.
  """

  objective: seams.TaskObjective
  of: str

  @property
  def tasks(self) -> tuple[str, ...]:
    """Names of the logits, as the objective has them."""
    return self.objective.tasks

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
    """The mean loss, and the objective's parts merged; arguments go to it.

    Raises:
      ValueError: the model gives no such logits.
    """
    losses, parts = [], {}
    for logits in _logits(outputs, self.of):
      loss, found = self.objective(
        dataclasses.replace(outputs, logits=logits),
        batch,
        rng=rng,
        items=items,
        where=where,
        weights=weights,
      )
      losses.append(loss)
      for name, mean in found.items():
        parts.setdefault(name, []).append(mean)
    merged = {n: functools.reduce(Mean.merge, ms) for n, ms in parts.items()}
    return sum(losses) / len(losses), merged


@dataclasses.dataclass(frozen=True)
class Distillation:
  """See the module docstring.

  Attributes:
    of: name of the logits that are learnt from, one set of them.
  """

  of: str = "dense_logits"

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
    """The sum over tasks, and as a part "kl" their mean.

    Raises:
      ValueError: the model gives no such logits, or several.
    """
    del rng, items
    found = _logits(outputs, self.of)
    if len(found) != 1:
      raise ValueError(
        f"config.objective: Distillation learns from one set of logits, and"
        f" {self.of!r} are {len(found)}."
      )
    keep_BL = batch["labelled_BL"] > 0
    if where is not None:
      keep_BL = keep_BL & where
    keep_BLT = jnp.broadcast_to(keep_BL[..., None], outputs.logits.shape)
    # Padding may hold anything, and 0 * nan is a gradient of nan.
    mine_BLT, teacher_BLT = (
      jnp.where(keep_BLT, x.astype(jnp.float32), 0.0)
      for x in (outputs.logits, jax.lax.stop_gradient(found[0]))
    )
    p_BLT = jax.nn.sigmoid(teacher_BLT)
    # log(1 + e^z) - p z is the cross-entropy; the teacher's own is its least.
    kl_BLT = (jax.nn.softplus(mine_BLT) - p_BLT * mine_BLT) - (
      jax.nn.softplus(teacher_BLT) - p_BLT * teacher_BLT
    )
    if weights is not None:
      weights = jnp.broadcast_to(weights[..., None], kl_BLT.shape)
    kl = Mean.of(kl_BLT, where=keep_BLT, weights=weights)
    return outputs.logits.shape[-1] * kl.compute(), {"kl": kl}
