# SPDX-License-Identifier: Apache-2.0
"""What a sample is worth: its reward beside those of the same request.

    A_k = (R_k - mean R) / (std R + epsilon)      mean and std over the group

Group normalisation (GRPO: Shao et al., arXiv 2402.03300). Where all rewards of
a group are the same there is nothing to learn, and A is exactly 0: tested on
the rewards themselves, since the float32 mean of equal numbers may be another
number, and a tiny difference over a tiny deviation is not.

`format_advantages` rewards what is well-formed (arXiv 2506.13695, section on
the format reward): of a few samples drawn at random the legal ones get 1 and
the others are dropped. Drawn, not the most probable: those are legal anyway,
and what is published of them rises and then falls.

`top_share_advantages` is of logged items, one a request, whose group is the
batch: the best part gets 1, what was refused -1, the rest 0 (OneRec-V2, arXiv
2508.20900, section 4).

Advantages are float32 constants, without a gradient.
Shapes: G groups (requests), K samples of each.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Mean


class GroupAdvantages(NamedTuple):
  """Normalised advantages.

  Attributes:
    advantage_GK: 0 of samples that were dropped.
    varied_G: groups with two different rewards; DAPO (arXiv 2503.14476) trains
      on no others.
    constant: share of groups, of those with a sample, that are not varied; its
      total is their number.
  """

  advantage_GK: Float[Array, "G K"]
  varied_G: Bool[Array, "G"]
  constant: Mean


def group_advantages(
  reward_GK: Float[Array, "G K"],
  *,
  where: Bool[Array, "G K"] | None = None,
  epsilon: float = 1e-6,
  unbiased: bool = False,
) -> GroupAdvantages:
  """Rewards less their group's mean, in deviations of the group.

  Args:
    reward_GK: of any unit.
    where: samples that count; the others' rewards may be anything.
    epsilon: added to the deviation; 1e-4 and 1e-6 are in use.
    unbiased: the deviation of K samples divides by K - 1, as toolkits do, not
      by K.

  Raises:
    ValueError: a negative epsilon.
  """
  if not 0 <= epsilon < math.inf:
    raise ValueError(f"epsilon={epsilon!r} must be a number of 0 or more.")
  if where is None:
    where = jnp.ones(reward_GK.shape, bool)
  reward_GK = reward_GK.astype(jnp.float32)
  count_G1 = jnp.sum(where, axis=1, keepdims=True)
  highest_G = jnp.max(jnp.where(where, reward_GK, -jnp.inf), axis=1)
  lowest_G = jnp.min(jnp.where(where, reward_GK, jnp.inf), axis=1)
  # Not `>`: a reward that is NaN should be seen, not dropped.
  varied_G = (highest_G != lowest_G) & (count_G1[:, 0] > 0)
  reward_GK = jnp.where(where & varied_G[:, None], reward_GK, 0.0)
  total_G1 = jnp.sum(reward_GK, axis=1, keepdims=True)
  mean_G1 = total_G1 / jnp.maximum(count_G1, 1)
  gap_GK = jnp.where(where, reward_GK - mean_G1, 0.0)
  square_G1 = jnp.sum(jnp.square(gap_GK), axis=1, keepdims=True)
  divisor_G1 = jnp.maximum(count_G1 - int(unbiased), 1)
  deviation_G1 = jnp.sqrt(square_G1 / divisor_G1) + epsilon
  deviation_G1 = jnp.where(varied_G[:, None], deviation_G1, 1.0)
  return GroupAdvantages(
    jax.lax.stop_gradient(gap_GK / deviation_G1),
    varied_G,
    Mean.of((~varied_G).astype(jnp.float32), where=count_G1[:, 0] > 0),
  )


def top_share_advantages(
  rng: Key[Array, ""],
  reward: Float[Array, "*b"],
  refused: Bool[Array, "*b"],
  *,
  share: float = 0.25,
  where: Bool[Array, "*b"] | None = None,
) -> Float[Array, "*b"]:
  """1 for the best `share` of all samples, -1 where refused, else 0.

  Of n samples with a reward the floor(share n) best ones are taken, exactly:
  among equal rewards it is drawn which. What is refused among them gets -1.

  Args:
    rng: of that draw.
    reward: negative = none, and neither best nor counted.
    refused: samples with negative feedback.
    share: of the samples, in (0, 1].
    where: samples that count.
  """
  if where is None:
    where = jnp.ones(reward.shape, bool)
  known = where & (reward >= 0)
  count = jnp.sum(known)
  drawn = jax.random.uniform(rng, (reward.size,))
  # The last key sorts first: rewards falling, unknown ones behind.
  order = jnp.lexsort((drawn, -jnp.where(known, reward, -1.0).ravel()))
  place = jnp.zeros(reward.size, jnp.int32)
  place = place.at[order].set(jnp.arange(reward.size, dtype=jnp.int32))
  # A share such as .3 of 10 is a bit less in float32.
  best = place.reshape(reward.shape) < jnp.floor(share * count + 1e-3)
  advantage = jnp.where(known & best, 1.0, 0.0)
  advantage = jnp.where(where & refused, -1.0, advantage)
  return jax.lax.stop_gradient(advantage.astype(jnp.float32))


def format_advantages(
  rng: Key[Array, ""],
  legal_GK: Bool[Array, "G K"],
  *,
  count: int = 5,
  where: Bool[Array, "G K"] | None = None,
  by_GK: Float[Array, "G K"] | None = None,
) -> tuple[Float[Array, "G K"], Bool[Array, "G K"]]:
  """1 for the legal ones of `count` samples drawn of each group.

  Args:
    rng: of the draw.
    legal_GK: samples that are well-formed, such as codes that some item has.
    count: samples to draw of each group, without replacement; all, where there
      are no more.
    where: samples to draw from.
    by_GK: the `count` highest are taken in place of a draw.

  Returns:
    Advantages, and which samples to train on.

  Raises:
    ValueError: a count below 1.
  """
  if count < 1:
    raise ValueError(f"count={count!r} must be at least 1.")
  if where is None:
    where = jnp.ones(legal_GK.shape, bool)
  if by_GK is None:
    by_GK = jax.random.uniform(rng, legal_GK.shape)
  order_GK = jnp.where(where, -jax.lax.stop_gradient(by_GK), jnp.inf)
  place_GK = jnp.argsort(jnp.argsort(order_GK, axis=1), axis=1)
  kept_GK = where & (place_GK < count) & legal_GK
  return kept_GK.astype(jnp.float32), kept_GK
