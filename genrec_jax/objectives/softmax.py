# SPDX-License-Identifier: Apache-2.0
"""Softmax losses for next-item prediction: sampled and full.

Per position with a label, scores s = <query, item> / temperature:

    sampled   -s_+ + log(e^{s_+} + sum over N negatives of e^{s_n})
    full      -s_+ + log(sum over all V items of e^{s_v})

logQ correction (Yi et al., RecSys 2019) subtracts log(N q(n)) from a sampled
score, which makes the sum estimate the full one. HSTU's public code uses
uniform negatives without it and temperature .05 on l2-normalised vectors.

Scores are float32 products on every device (ops/precision.py).

Every objective answers (outputs, batch, rng, items, where, weights) ->
(loss, {name: Mean}); a batch without a label has loss 0, not NaN. Where a
layout says how much a label counts (weight_BL), the mean is weighted by it.
"""

import dataclasses

from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.negatives import Negatives, Positions
from genrec_jax.objectives.own_events import OwnEvents
from genrec_jax.objectives.position_weights import position_weights
from genrec_jax.objectives.queries import queries_and_labels
from genrec_jax.objectives.sampled_scores import (
  label_shift,
  log_q_shifts,
  loss_against,
)
from genrec_jax.ops.linear_cross_entropy import linear_cross_entropy

Parts = dict[str, Mean]


def _tokens(outputs: Outputs, batch: Batch, label: str, where, weights):
  """Flattens rows: queries, labels, mask and weights of T = B * L tokens."""
  query_TD, labels_T = queries_and_labels(outputs, batch, label)
  where_T = labels_T > 0
  if where is not None:
    where_T = where_T & where.reshape(-1)
  weights_T = position_weights(batch, label, weights)
  return query_TD, labels_T, where_T, weights_T


def _finish(loss_T, where_T, weights_T, name) -> tuple[Array, Parts]:
  mean = Mean.of(loss_T, where=where_T, weights=weights_T)
  return mean.compute(), {name: mean}


@dataclasses.dataclass(frozen=True)
class SampledSoftmax:
  """Sampled softmax: InfoNCE, where negatives are uniform and uncorrected.

  No item that the user of a position takes there or later in the row is a
  negative of it, whatever draws it; see `own_future`.

  Attributes:
    negatives: how negatives are drawn (objectives/negatives.py).
    temperature: scores are divided by it.
    correct_log_q: subtract log(N q) from the scores of negatives.
    correct_positive: subtract it from the positive's score too (the classic
      recipe; the positive is not sampled, so the default is not to).
    label: name of the items to find in a batch; 0 there = no loss.
    own_history: whether what the user took before may be a negative.
    own_future: whether what the user takes later in the row may be, as in
      HSTU's public code: left out is then the right item alone, by one
      comparison with each negative.
  """

  negatives: Negatives
  temperature: float = 0.05
  correct_log_q: bool = False
  correct_positive: bool = False
  label: str = "label_BL"
  own_history: bool = True
  own_future: bool = False

  def __post_init__(self):
    check_positive(self, "config.objective", "temperature")
    if self.own_future and not self.own_history:
      raise ValueError(
        "config.objective.own_future=True leaves out the right item alone, and"
        " own_history=False what the user took before: choose one."
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
    """Mean loss over labelled positions (where `where` holds, weighted)."""
    query_TD, labels_T, where_T, weights_T = _tokens(
      outputs, batch, self.label, where, weights
    )
    own = OwnEvents(batch[self.label])
    if not self.own_future:
      own = OwnEvents.of(batch, self.label, past=not self.own_history)
    positions = Positions(query_TD, labels_T, where_T, items, own, batch)
    drawn = self.negatives.draw(rng, positions)
    shifts, positive_shift = None, 0.0
    if self.correct_log_q:
      shifts = log_q_shifts(drawn)
      if self.correct_positive:
        positive_shift = label_shift(drawn, positions)
    loss_T = loss_against(
      drawn, shifts, positions, query_TD, self.temperature, positive_shift
    )
    return _finish(loss_T, where_T, weights_T, "sampled_softmax")


@dataclasses.dataclass(frozen=True)
class FullSoftmax:
  """Cross-entropy over all items, without (tokens x items) logits.

  Attributes:
    temperature: scores are divided by it.
    label: name of the items to find in a batch; 0 there = no loss.
    seen_only: leave items without an event in the training part out, so that
      nothing pushes them away; for systems that know which they are.
  """

  temperature: float = 1.0
  label: str = "label_BL"
  seen_only: bool = False

  def __post_init__(self):
    check_positive(self, "config.objective", "temperature")

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
    """Mean loss over labelled positions (where `where` holds, weighted)."""
    del rng
    query_TD, labels_T, where_T, weights_T = _tokens(
      outputs, batch, self.label, where, weights
    )
    keep_V = None
    if self.seen_only:
      if items.seen is None:
        raise ValueError(
          "config.objective.seen_only=True, and the system does not say which"
          " items were seen: use a system that has `seen`."
        )
      keep_V = items.seen()[: items.num_items + 1]
    loss_T = linear_cross_entropy(
      query_TD / self.temperature, items.table(), labels_T, keep_V=keep_V
    )
    return _finish(loss_T, where_T, weights_T, "softmax")
