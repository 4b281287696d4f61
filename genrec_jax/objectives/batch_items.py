# SPDX-License-Identifier: Apache-2.0
"""InfoNCE: the next item's vector against those of the batch's other items.

    -log e^{<q, v+> / t} / (e^{<q, v+> / t} + sum over negatives e^{<q, v> / t})

Negatives are the distinct items of the batch (van den Oord et al., arXiv
1807.03748; the dense loss of Yang et al., arXiv 2503.02453), of which the
system gives the vectors (Outputs.aux["items"]), and what a sampler draws beside
them. Items that equal the target are none, nor are later targets of its row's
segment, nor, by default, other items of its own history, drawn ones among them.
A target that is none of the batch's items has no vector, and its loss is NaN.

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
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.negatives import Drawn, Negatives, Positions
from genrec_jax.objectives.own_events import OwnEvents
from genrec_jax.objectives.position_weights import position_weights
from genrec_jax.objectives.queries import queries_and_labels
from genrec_jax.objectives.sampled_scores import log_q_shifts
from genrec_jax.ops.precision import SCORES

_MASKED = -1e9


@dataclasses.dataclass(frozen=True)
class BatchItemSoftmax:
  """See the module docstring.

  Attributes:
    temperature: scores are divided by it. With cosines and 1 the loss has a
      floor near log(1 + (n - 1) e^-2), which leaves nothing to learn.
    own_history: whether items of a target's own history before it are
      negatives.
    negatives: what else is drawn, shared by all targets; None = nothing.
    correct_log_q: see the module docstring.
    label: name of the items to find in a batch; 0 there = no loss.
  """

  temperature: float = 0.1
  own_history: bool = False
  negatives: Negatives | None = None
  correct_log_q: bool = False
  label: str = "target_item_BS"

  def __post_init__(self):
    check_positive(self, "config.objective", "temperature")

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
    """Mean over targets; NaN where one is none of the batch's items."""
    query_TD, labels_T = queries_and_labels(outputs, batch, self.label)
    if "items" not in (outputs.aux or {}):
      raise ValueError(
        "objectives.BatchItemSoftmax compares with the vectors of a batch's"
        " items, and the system gives none: use one that encodes items, such as"
        " models.ContentNextItem."
      )
    where_T = labels_T > 0
    if where is not None:
      where_T = where_T & where.reshape(-1)
    own = OwnEvents.of(batch, self.label, past=False)
    positions = Positions(query_TD, labels_T, where_T, items, own, batch)
    query_TD = query_TD / self.temperature
    of_batch = outputs.aux["items"]
    scores_TU = jnp.matmul(query_TD, of_batch.vectors_UD.T, precision=SCORES)
    hit_TU = of_batch.ids_U[None, :] == labels_T[:, None]
    positive_T = jnp.sum(jnp.where(hit_TU, scores_TU, 0.0), axis=1)
    missing_T = where_T & ~jnp.any(hit_TU, axis=1)
    positive_T = jnp.where(missing_T, jnp.nan, positive_T)
    if self.own_history:
      own_TU = own.among(of_batch.ids_U)
    else:
      own_TU = _of_own_history(batch, of_batch)
    out_TU = hit_TU | own_TU | (of_batch.ids_U == 0)[None, :]
    if self.correct_log_q:
      scores_TU = scores_TU - _log_chance(of_batch)[None, :]
    parts = [jnp.where(out_TU, _MASKED, scores_TU)]
    if self.negatives is not None:
      scores_TN, ids_N = self._drawn(rng, positions, query_TD)
      if self.own_history:
        own_TN = own.among(ids_N)
      else:
        own_TN = _of_drawn(own_TU, of_batch.ids_U, ids_N)
      # Id 0 is drawn where there is nothing to draw.
      ids_1N = ids_N[None, :]
      out_TN = own_TN | (ids_1N == labels_T[:, None]) | (ids_1N == 0)
      parts.append(jnp.where(out_TN, _MASKED, scores_TN))
    negative_TN = jnp.concatenate(parts, axis=1)
    if self.correct_log_q:
      negative_TN = negative_TN - jnp.log(jnp.float32(len(parts)))
    all_TN = jnp.concatenate([positive_T[:, None], negative_TN], axis=1)
    loss_T = jax.nn.logsumexp(all_TN, axis=1) - positive_T
    weights_T = position_weights(batch, self.label, weights)
    mean = Mean.of(loss_T, where=where_T, weights=weights_T)
    return mean.compute(), {"batch_items": mean}

  def _drawn(
    self, rng, positions: Positions, query_TD
  ) -> tuple[Float[Array, "T N"], Int[Array, "N"]]:
    """Scores of what is drawn, and its ids."""
    drawn = self.negatives.draw(rng, positions)
    _check(drawn)
    ids_N = jnp.concatenate([one.ids for one in drawn])
    vectors_ND = positions.items.vectors(ids_N)
    scores_TN = jnp.matmul(query_TD, vectors_ND.T, precision=SCORES)
    if self.correct_log_q:
      shift_N = jnp.concatenate(log_q_shifts(drawn))
      scores_TN = scores_TN - shift_N[None, :]
    return scores_TN, ids_N


def _check(drawn: tuple[Drawn, ...]) -> None:
  """Raises a ValueError for what this loss cannot compare with."""
  if any(one.ids.ndim != 1 for one in drawn):
    raise ValueError(
      "objective.negatives draws for every position apart: take one that"
      " draws for all, such as objectives.UniformShared."
    )
  if any(one.rules for one in drawn):
    raise ValueError(
      "objective.negatives filters by the positive's score, which"
      " objectives.BatchItemSoftmax does not: take objectives.SampledSoftmax,"
      " or negatives without objectives.PositiveAware."
    )


def _of_own_history(batch: Batch, of_batch: Any) -> Bool[Array, "T U"]:
  """Which of the batch's items stand in each target's own segment."""
  segments_BL = batch["segment_ids_BL"]
  rows, length = segments_BL.shape
  first_B1 = jnp.arange(rows)[:, None] * (length + 1)
  segment_I = (first_B1 + segments_BL).reshape(-1)
  has_GU = jnp.zeros((rows * (length + 1), len(of_batch.ids_U)), bool)
  places_IP = of_batch.places.reshape(len(segment_I), -1)
  has_GU = has_GU.at[segment_I[:, None], places_IP].set(True, mode="drop")
  # Where targets have places of their own, a batch says whose they are.
  of_targets_BS = batch.get("target_segment_BS", segments_BL)
  return has_GU[(first_B1 + of_targets_BS).reshape(-1)]


def _of_drawn(own_TU, ids_U, ids_N) -> Bool[Array, "T N"]:
  """Which drawn items are among those of a batch that a target owns."""
  # Ascending, as what fills up stands behind all ids.
  filled_U = (ids_U == 0) & (jnp.arange(len(ids_U)) > 0)
  ids_U = jnp.where(filled_U, jnp.iinfo(ids_U.dtype).max, ids_U)
  place_N = jnp.searchsorted(ids_U, ids_N)
  place_N = jnp.minimum(place_N, len(ids_U) - 1)
  return own_TU[:, place_N] & (ids_U[place_N] == ids_N)[None, :]


def _log_chance(of_batch: Any) -> Float[Array, "U"]:
  """Logarithm of each distinct item's chance to be in such a batch."""
  # Padding stands at place 0.
  events = jnp.sum(of_batch.places > 0) / of_batch.per_event
  chance_U = -jnp.expm1(
    events * jnp.log1p(-jnp.minimum(of_batch.share_U, 0.999))
  )
  return jnp.log(jnp.maximum(chance_U, 1e-9))
