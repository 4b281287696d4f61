# SPDX-License-Identifier: Apache-2.0
"""InfoNCE: the next item's vector against those of the batch's other items.

    -log e^{<q, v+> / t} / (e^{<q, v+> / t} + sum over negatives e^{<q, v> / t})

Negatives are the distinct items of the batch (van den Oord et al., arXiv
1807.03748; the dense loss of Yang et al., arXiv 2503.02453), of which the
system gives the vectors (Outputs.aux["items"]), and what a sampler draws beside
them. Items that equal the target are none, nor are, by default, other items of
its own history.

An item is in a batch the likelier the more popular it is. With correct_log_q
the scores of negatives are shifted by the logarithm of how often they are
expected (Yi et al., RecSys 2019): of the batch 1 - (1 - share)^n for n events,
of a sampler its own; two kinds of negatives estimate one sum twice, which is
halved.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.softmax import Sampler
from genrec_jax.ops.precision import SCORES

_MASKED = -1e9


@dataclasses.dataclass(frozen=True)
class BatchItemSoftmax:
  """See the module docstring.

  Attributes:
    temperature: scores are divided by it. With cosines and 1 the loss has a
      floor near log(1 + (n - 1) e^-2), which leaves nothing to learn.
    own_history: whether other items of a target's own history are negatives.
    negatives: what else is drawn, shared by all targets; None = nothing.
    correct_log_q: see the module docstring.
    label: name of the items to find in a batch; 0 there = no loss.
  """

  temperature: float = 0.1
  own_history: bool = False
  negatives: Sampler | None = None
  correct_log_q: bool = False
  label: str = "target_item_BS"

  def __post_init__(self):
    if not 0 < self.temperature < float("inf"):
      raise ValueError(
        f"objective.temperature={self.temperature} must be above 0."
      )

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B S"] | None = None,
    weights: Float[Array, "B S"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """Mean over targets."""
    labels_T = batch[self.label].reshape(-1)
    where_T = labels_T > 0
    if where is not None:
      where_T = where_T & where.reshape(-1)
    query_TD = outputs.query.reshape(len(labels_T), -1) / self.temperature
    of_batch = outputs.aux["items"]
    scores_TU = jnp.matmul(query_TD, of_batch.vectors_UD.T, precision=SCORES)
    hit_TU = of_batch.ids_U[None, :] == labels_T[:, None]
    positive_T = jnp.sum(jnp.where(hit_TU, scores_TU, 0.0), axis=1)
    out_TU = hit_TU | (of_batch.ids_U == 0)[None, :]
    if not self.own_history:
      out_TU = out_TU | _of_own_history(batch, of_batch)
    if self.correct_log_q:
      scores_TU = scores_TU - _log_chance(of_batch)[None, :]
    parts = [jnp.where(out_TU, _MASKED, scores_TU)]
    if self.negatives is not None:
      parts.append(self._drawn(rng, query_TD, labels_T, where_T, items))
    negative_TN = jnp.concatenate(parts, axis=1)
    if self.correct_log_q:
      negative_TN = negative_TN - jnp.log(jnp.float32(len(parts)))
    all_TN = jnp.concatenate([positive_T[:, None], negative_TN], axis=1)
    loss_T = jax.nn.logsumexp(all_TN, axis=1) - positive_T
    weights_T = None if weights is None else weights.reshape(-1)
    mean = Mean.of(loss_T, where=where_T, weights=weights_T)
    return mean.compute(), {"batch_items": mean}

  def _drawn(
    self, rng, query_TD, labels_T, where_T, items
  ) -> Float[Array, "T N"]:
    drawn = self.negatives(rng, labels_T, where_T, items.num_items)
    if drawn.ids.ndim != 1:
      raise ValueError(
        "objective.negatives draws for every position apart: take one that"
        " draws for all, such as objectives.UniformShared."
      )
    scores_TN = jnp.matmul(
      query_TD, items.vectors(drawn.ids).T, precision=SCORES
    )
    if self.correct_log_q:
      count = jnp.log(jnp.float32(len(drawn.ids)))
      scores_TN = scores_TN - (drawn.log_q + count)[None, :]
    # Id 0 is drawn only from a batch without labels.
    out_TN = drawn.ids[None, :] == labels_T[:, None]
    out_TN = out_TN | (drawn.ids == 0)[None, :]
    return jnp.where(out_TN, _MASKED, scores_TN)


def _of_own_history(batch: Batch, of_batch: Any) -> Bool[Array, "T U"]:
  """Which of the batch's items stand in each position's own segment."""
  segments_BL = batch["segment_ids_BL"]
  rows, length = segments_BL.shape
  first_B1 = jnp.arange(rows)[:, None] * (length + 1)
  segment_T = (first_B1 + segments_BL).reshape(-1)
  has_GU = jnp.zeros((rows * (length + 1), len(of_batch.ids_U)), bool)
  places_TP = of_batch.places.reshape(len(segment_T), -1)
  has_GU = has_GU.at[segment_T[:, None], places_TP].set(True, mode="drop")
  return has_GU[segment_T]


def _log_chance(of_batch: Any) -> Float[Array, "U"]:
  """Logarithm of each distinct item's chance to be in such a batch."""
  # Padding stands at place 0.
  events = jnp.sum(of_batch.places > 0)
  chance_U = -jnp.expm1(
    events * jnp.log1p(-jnp.minimum(of_batch.share_U, 0.999))
  )
  return jnp.log(jnp.maximum(chance_U, 1e-9))
