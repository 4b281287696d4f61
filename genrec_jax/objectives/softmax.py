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
(loss, {name: Mean}); a batch without a label has loss 0, not NaN.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.suggest import choices_hint
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.negatives import Negatives
from genrec_jax.ops.blocks import count_blocks, join, split
from genrec_jax.ops.indexed_dot import indexed_dot
from genrec_jax.ops.linear_cross_entropy import linear_cross_entropy
from genrec_jax.ops.precision import SCORES

# As published; far below any score and finite, so gradients stay finite.
_MASKED = -5e4
# Scores held at once on a CPU: 2^20 float32 are 4 MiB.
_BLOCK_SCORES = 1 << 20

Parts = dict[str, Mean]


@runtime_checkable
class Sampler(Protocol):
  """Draws negatives; see objectives/negatives.py."""

  def __call__(
    self,
    rng: Key[Array, ""],
    labels_T: Int[Array, "T"],
    where_T: Bool[Array, "T"],
    num_items: int,
  ) -> Negatives:
    """Negatives for the labelled tokens."""


def sampled_softmax_loss(
  positive_T: Float[Array, "T"],
  negative_TN: Float[Array, "T N"],
  hit_TN: Bool[Array, "T N"],
) -> Float[Array, "T"]:
  """-log of the positive's share among itself and its negatives.

  Args:
    positive_T: score of the right item.
    negative_TN: scores of the sampled items.
    hit_TN: sampled items that equal the positive; they are left out.
  """
  negative_TN = jnp.where(hit_TN, _MASKED, negative_TN)
  largest = jnp.maximum(jnp.max(negative_TN, axis=1), positive_T)
  largest = jax.lax.stop_gradient(largest)
  total = jnp.exp(positive_T - largest)
  total = total + jnp.sum(jnp.exp(negative_TN - largest[:, None]), axis=1)
  return jnp.log(total) + largest - positive_T


def _hits(ids_TN, labels_T):
  """Draws that are no negatives: the positive itself, and id 0."""
  # Id 0 is drawn only from a batch without labels.
  return (ids_TN == labels_T[:, None]) | (ids_TN == 0)


def _shared_loss(query_TD, positive_T, labels_T, vectors_ND, ids_N, shift_N):
  """Sampled softmax against one list of negatives for all tokens.

  On a CPU tokens go by blocks whose scores stay in cache, and are scored
  again in the backward pass: .15 s of CPU time instead of .20 at 27,008
  tokens and 1,024 negatives.
  """

  def some(tokens):
    query, positive, labels = tokens
    negative = jnp.matmul(query, vectors_ND.T, precision=SCORES)
    negative = negative - shift_N[None, :]
    hit = _hits(ids_N[None, :], labels)
    return sampled_softmax_loss(positive, negative, hit)

  def by_blocks(tokens):
    num_tokens = query_TD.shape[0]
    count = count_blocks(num_tokens, _BLOCK_SCORES // ids_N.shape[0])
    blocks = tuple(split(x, count) for x in tokens)
    return join(lax.map(jax.checkpoint(some), blocks), num_tokens)

  tokens = (query_TD, positive_T, labels_T)
  return lax.platform_dependent(tokens, cpu=by_blocks, default=some)


def _tokens(outputs: Outputs, batch: Batch, label: str, where, weights):
  """Flattens rows: queries, labels, mask and weights of T = B * L tokens."""
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
  where_T = labels_T > 0
  if where is not None:
    where_T = where_T & where.reshape(-1)
  query_TD = outputs.query.reshape(labels_T.shape[0], -1)
  weights_T = None if weights is None else weights.reshape(-1)
  return query_TD, labels_T, where_T, weights_T


def _finish(loss_T, where_T, weights_T, name) -> tuple[Array, Parts]:
  mean = Mean.of(loss_T, where=where_T, weights=weights_T)
  return mean.compute(), {name: mean}


@dataclasses.dataclass(frozen=True)
class SampledSoftmax:
  """Sampled softmax.

  Attributes:
    negatives: how negatives are drawn (objectives/negatives.py).
    temperature: scores are divided by it.
    correct_log_q: subtract log(N q) from the scores of negatives.
    correct_positive: subtract it from the positive's score too (the classic
      recipe; the positive is not sampled, so the default is not to).
    label: name of the items to find in a batch; 0 there = no loss.
  """

  negatives: Sampler
  temperature: float = 0.05
  correct_log_q: bool = False
  correct_positive: bool = False
  label: str = "label_BL"

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
    query_TD, labels_T, where_T, weights_T = _tokens(
      outputs, batch, self.label, where, weights
    )
    drawn = self.negatives(rng, labels_T, where_T, items.num_items)
    query_TD = query_TD / self.temperature
    positive_T = jnp.einsum(
      "td,td->t", query_TD, items.vectors(labels_T), precision=SCORES
    )
    shift = jnp.zeros(drawn.log_q.shape)
    if self.correct_log_q:
      log_count = jnp.log(jnp.float32(drawn.ids.shape[-1]))
      shift = drawn.log_q + log_count
      if self.correct_positive:
        positive_T = positive_T - (drawn.label_log_q_T + log_count)
    if drawn.ids.ndim == 1:
      vectors_ND = items.vectors(drawn.ids)
      loss_T = _shared_loss(
        query_TD, positive_T, labels_T, vectors_ND, drawn.ids, shift
      )
    elif items.rows_only:
      vectors_TND = items.vectors(drawn.ids)
      negative_TN = jnp.einsum(
        "td,tnd->tn", query_TD, vectors_TND, precision=SCORES
      )
      negative_TN = negative_TN - shift
      hit_TN = _hits(drawn.ids, labels_T)
      loss_T = sampled_softmax_loss(positive_T, negative_TN, hit_TN)
    else:
      negative_TN = indexed_dot(query_TD, items.table(), drawn.ids) - shift
      hit_TN = _hits(drawn.ids, labels_T)
      loss_T = sampled_softmax_loss(positive_T, negative_TN, hit_TN)
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
