# SPDX-License-Identifier: Apache-2.0
"""The sampled softmax of what was drawn, whatever drew it.

    loss_t = -s_+ + log(e^{s_+} + sum over what is left of e^{s_n - shift_n})

Left out are id 0, a user's own items (objectives/own_events.py; the positive is
one) and what rules take for positives. Shapes: T positions, N ids of a part,
which are shared by all positions or each position's own.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.objectives.hard_negatives import cosines
from genrec_jax.objectives.negatives import Drawn, Positions
from genrec_jax.ops.blocks import count_blocks, join, split
from genrec_jax.ops.indexed_dot import indexed_dot
from genrec_jax.ops.precision import SCORES

# As published; far below any score and finite, so gradients stay finite.
_MASKED = -5e4
# Scores held at once on a CPU: 2^20 float32 are 4 MiB.
_BLOCK_SCORES = 1 << 20


def sampled_softmax_loss(
  positive_T: Float[Array, "T"],
  negative_TN: Float[Array, "T N"],
  out_TN: Bool[Array, "T N"],
) -> Float[Array, "T"]:
  """-log of the positive's share among itself and its negatives.

  Args:
    positive_T: score of the right item.
    negative_TN: scores of the sampled items.
    out_TN: sampled items that are no negatives; they are left out.
  """
  negative_TN = jnp.where(out_TN, _MASKED, negative_TN)
  largest = jnp.maximum(jnp.max(negative_TN, axis=1), positive_T)
  largest = lax.stop_gradient(largest)
  total = jnp.exp(positive_T - largest)
  total = total + jnp.sum(jnp.exp(negative_TN - largest[:, None]), axis=1)
  return jnp.log(total) + largest - positive_T


def log_q_shifts(drawn: tuple[Drawn, ...]) -> list[Float[Array, "..."]]:
  """log(N q) of every part's ids, N all that is drawn.

  Raises:
    ValueError: a part whose chances nobody knows.
  """
  return [_log_q(one)(one.ids) + _log_count(drawn) for one in drawn]


def label_shift(
  drawn: tuple[Drawn, ...], positions: Positions
) -> Float[Array, "T"]:
  """The same of the right items."""
  return _log_q(drawn[0])(positions.labels_T) + _log_count(drawn)


def _log_count(drawn: tuple[Drawn, ...]) -> Float[Array, ""]:
  return jnp.log(jnp.float32(sum(one.count for one in drawn)))


def _log_q(one: Drawn):
  if one.log_q is None:
    raise ValueError(
      "config.objective.correct_log_q=True, and how likely"
      " config.objective.negatives draws an item is not known, as of all hard"
      " ones: set it to False."
    )
  return one.log_q


def loss_against(
  drawn: tuple[Drawn, ...],
  shifts: list[Float[Array, "..."]] | None,
  positions: Positions,
  query_TD: Float[Array, "T D"],
  temperature: float,
  positive_shift_T: Float[Array, "T"] | float = 0.0,
) -> Float[Array, "T"]:
  """The loss of every position; see the module docstring.

  On a CPU positions go by blocks whose scores of shared ids stay in cache, and
  are scored again in the backward pass: .15 s of CPU time instead of .20 at
  27,008 positions and 1,024 negatives.

  Args:
    drawn: parts.
    shifts: of the scores of each, such as log_q_shifts; None = none.
    positions: that they were drawn for.
    query_TD: of the positions.
    temperature: scores are divided by it.
    positive_shift_T: taken off the positive's score.
  """
  items, own = positions.items, positions.own
  query_TD = query_TD / temperature
  right_TD = items.vectors(positions.labels_T)
  raw_T = jnp.einsum("td,td->t", query_TD, right_TD, precision=SCORES)
  positive_T = raw_T - positive_shift_T
  if shifts is None:
    shifts = [jnp.zeros(one.ids.shape) for one in drawn]
  pairs = list(zip(drawn, shifts, strict=True))
  shared = [pair for pair in pairs if pair[0].ids.ndim == 1]
  each = [
    _of_each(one, shift, positions, query_TD, right_TD, raw_T)
    for one, shift in pairs
    if one.ids.ndim == 2
  ]
  if not shared:
    return sampled_softmax_loss(positive_T, *_side_by_side(each))
  vectors = [items.vectors(one.ids) for one, _ in shared]
  ends = [sum(one.count for one, _ in shared[:n]) for n in range(len(shared))]
  ids_N = jnp.concatenate([one.ids for one, _ in shared])
  never_TN = own.among(ids_N) | (ids_N == 0)[None]
  # What few rules read is not carried through the blocks of all others.
  rules = any(one.rules for one, _ in shared)
  tokens = (
    query_TD,
    positive_T,
    raw_T,
    right_TD if rules else (),
    never_TN,
    each,
  )

  def some(tokens):
    query, positive, raw, right, never, each = tokens
    found = list(each)
    for (one, shift), vectors_ND, start in zip(
      shared, vectors, ends, strict=True
    ):
      score = jnp.matmul(query, vectors_ND.T, precision=SCORES)
      out = never[:, start : start + one.count]
      out = out | _ruled_out(
        one, raw, score, lambda v=vectors_ND: cosines(right, v)
      )
      found.append((score - shift[None], out))
    return sampled_softmax_loss(positive, *_side_by_side(found))

  def by_blocks(tokens):
    total = len(query_TD)
    count = count_blocks(total, _BLOCK_SCORES // len(ids_N))
    blocks = jax.tree.map(lambda x: split(x, count), tokens)
    return join(lax.map(jax.checkpoint(some), blocks), total)

  return lax.platform_dependent(tokens, cpu=by_blocks, default=some)


def _side_by_side(found):
  """Scores of all parts, and what is left out of them."""
  return tuple(jnp.concatenate(x, axis=1) for x in zip(*found, strict=True))


def _of_each(one, shift, positions, query_TD, right_TD, raw_T):
  """Scores of each position's own ids, and which are no negatives."""
  items = positions.items
  if items.rows_only:
    vectors_TND = items.vectors(one.ids)
    score_TN = jnp.einsum("td,tnd->tn", query_TD, vectors_TND, precision=SCORES)
  else:
    score_TN = indexed_dot(query_TD, items.table(), one.ids)
  out_TN = positions.own.among(one.ids) | (one.ids == 0)
  out_TN = out_TN | _ruled_out(
    one, raw_T, score_TN, lambda: cosines(right_TD, items.still(one.ids))
  )
  return score_TN - shift, out_TN


def _ruled_out(one: Drawn, positive_T, score_TN, cosine) -> Bool[Array, "T N"]:
  out_TN = jnp.zeros(score_TN.shape, bool)
  for rule in one.rules:
    out_TN = out_TN | ~rule.keep(positive_T, score_TN, cosine)
  return out_TN
