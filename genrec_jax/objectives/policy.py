# SPDX-License-Identifier: Apache-2.0
"""Learning from rewards: losses on log-probabilities of sampled tokens.

With the advantage A of a sample, pi the policy's probability of a token,
pi_old that of the policy which drew it, sg no gradient, and r = pi / pi_old:

    PPO    -min(r A, clip(r, 1 - low, 1 + high) A)            arXiv 1707.06347
    ECPO   PPO, where A < 0 with
           pi_old <- max(pi_old, sg(pi) / (1 + epsilon + delta))    2506.13695
    GBPO   -A pi / max(pi_old, sg(pi)      where A >= 0             2508.20900
                               1 - sg(pi)  where A < 0)

What is known by other names is put together of these:

    GRPO   group_advantages (objectives/advantages.py), ppo_clip with
           sample_mean=True, and a weight times reference_kl
    DAPO   group_advantages, only groups that are varied, ppo_clip with
           high=.28 (clip-higher) and the mean over all tokens

PPO's r of a negative has no limit, and above e^88 it is inf, as is the loss;
ECPO's is at most 1 + epsilon + delta, and a push of GBPO at most that of
-log(1 - pi), the cross-entropy of "not this one".

Every function is (loss, {name: Mean}) in float32; advantages, old and reference
log-probabilities are constants. `where` names the tokens that count: what is
dropped may hold anything, and without a token loss and gradient are 0, inside
of jit as well. In common:

    sample_ratio   one ratio per sample, of the products over its tokens. The
                   formulas of ECPO and GBPO say pi and leave open of what. The
                   default, single tokens, is what the analysis of GBPO is
                   about: an answer's pi is so small that GBPO's push of a
                   negative, about pi, would be none
    sample_mean    mean over a sample's tokens, then over samples; else over
                   all tokens of the batch: a long sample counts more

Shapes: G groups (requests), K samples of each, M tokens of each; advantages are
(G, K, 1), or (G, K, M) where tokens have their own.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.types import Mean

Parts = dict[str, Mean]

# Distance of 1 from the float32 below it: 1 - pi is that at least.
_LEAST_REST = 2.0**-24


def ppo_clip(
  policy_GKM: Float[Array, "G K M"],
  old_GKM: Float[Array, "G K M"],
  advantage: Float[Array, "G K #M"],
  *,
  low: float = 0.2,
  high: float = 0.2,
  where: Bool[Array, "G K M"] | None = None,
  sample_ratio: bool = False,
  sample_mean: bool = False,
) -> tuple[Float[Array, ""], Parts]:
  """The clipped surrogate; parts: it, and the share of tokens cut off.

  Args:
    policy_GKM: log-probabilities of the tokens under what is trained.
    old_GKM: under what drew them.
    advantage: of samples, or of tokens.
    low: a token with A < 0 has no gradient below a ratio of 1 - low.
    high: a token with A > 0 has none above 1 + high.
    where: tokens that count.
    sample_ratio, sample_mean: see the module docstring.

  Raises:
    ValueError: low not in [0, 1), high negative, or shapes that do not fit.
  """
  _check_clip(low, high, names=("low", "high"))
  units = _units(policy_GKM, old_GKM, advantage, where, sample_ratio)
  loss, cut = _clipped(units, units.old, low, high)
  return _finish("ppo", loss, {"clipped": cut}, units, sample_mean)


def ecpo(
  policy_GKM: Float[Array, "G K M"],
  old_GKM: Float[Array, "G K M"],
  advantage: Float[Array, "G K #M"],
  *,
  epsilon: float = 0.2,
  delta: float = 0.1,
  where: Bool[Array, "G K M"] | None = None,
  sample_ratio: bool = False,
  sample_mean: bool = False,
) -> tuple[Float[Array, ""], Parts]:
  """PPO with early clipping: negatives push no harder than a set ratio.

  Args:
    policy_GKM, old_GKM, advantage: as in ppo_clip.
    epsilon: low and high of ppo_clip.
    delta: how far beyond 1 + epsilon a negative's ratio may be; .1 published.
    where: tokens that count.
    sample_ratio, sample_mean: see the module docstring.

  Returns:
    The loss; parts: it, the share of tokens cut off, and of those with a
    higher pi_old.

  Raises:
    ValueError: epsilon not in [0, 1), delta negative, or shapes that do not
      fit.
  """
  _check_clip(epsilon, delta, names=("epsilon", "delta"))
  units = _units(policy_GKM, old_GKM, advantage, where, sample_ratio)
  least = jax.lax.stop_gradient(units.policy) - math.log1p(epsilon + delta)
  raised = (units.advantage < 0) & (least > units.old)
  old = jnp.where(raised, least, units.old)
  loss, cut = _clipped(units, old, epsilon, epsilon)
  shares = {"clipped": cut, "raised": raised}
  return _finish("ecpo", loss, shares, units, sample_mean)


def gbpo(
  policy_GKM: Float[Array, "G K M"],
  old_GKM: Float[Array, "G K M"] | None,
  advantage: Float[Array, "G K #M"],
  *,
  where: Bool[Array, "G K M"] | None = None,
  sample_ratio: bool = False,
  sample_mean: bool = False,
) -> tuple[Float[Array, ""], Parts]:
  """Bounded gradients without a clip: no token is cut off.

  Args:
    policy_GKM, advantage: as in ppo_clip.
    old_GKM: likewise; None for samples that another system drew, whose pi_old
      is taken to be sg(pi).
    where: tokens that count.
    sample_ratio, sample_mean: see the module docstring.

  Returns:
    The loss; parts: it, and the share of tokens with a higher pi_old.

  Raises:
    ValueError: shapes that do not fit.
  """
  old_GKM = policy_GKM if old_GKM is None else old_GKM
  units = _units(policy_GKM, old_GKM, advantage, where, sample_ratio)
  policy = jax.lax.stop_gradient(units.policy)
  rest = jnp.log(jnp.maximum(-jnp.expm1(policy), _LEAST_REST))
  least = jnp.where(units.advantage >= 0, policy, rest)
  ratio = jnp.exp(units.policy - jnp.maximum(units.old, least))
  raised = (units.advantage != 0) & (least > units.old)
  loss = -ratio * units.advantage
  return _finish("gbpo", loss, {"raised": raised}, units, sample_mean)


def reference_kl(
  policy_GKM: Float[Array, "G K M"],
  reference_GKM: Float[Array, "G K M"],
  *,
  where: Bool[Array, "G K M"] | None = None,
  sample_mean: bool = False,
) -> tuple[Float[Array, ""], Parts]:
  """How far the policy went from a reference: KL(policy, reference) in nats.

  The mean of e^d - d - 1, d = log reference - log policy, over tokens that the
  policy drew: unbiased, never negative, and 0 where both agree ("k3",
  Schulman, 2020). A weight times it is a term beside any loss above.

  Args:
    policy_GKM: log-probabilities of the tokens under what is trained.
    reference_GKM: under the reference.
    where: tokens that count.
    sample_mean: see the module docstring.

  Raises:
    ValueError: shapes differ.
  """
  none = jnp.zeros((*policy_GKM.shape[:2], 1))
  units = _units(policy_GKM, reference_GKM, none, where, sample_ratio=False)
  d = units.old - units.policy
  return _finish("kl", jnp.expm1(d) - d, {}, units, sample_mean)


class _Units(NamedTuple):
  """What has a ratio: tokens (G, K, M), or whole samples (G, K, 1).

  Attributes:
    policy, old, advantage: float32, 0 where dropped; only the policy's has a
      gradient.
    where: which count.
  """

  policy: Array
  old: Array
  advantage: Array
  where: Array


def _units(policy, old, advantage, where, sample_ratio: bool) -> _Units:
  where = jnp.ones(policy.shape, bool) if where is None else where
  if not policy.shape == old.shape == where.shape:
    raise ValueError(
      f"log-probabilities {policy.shape}, those that they are compared with"
      f" {old.shape} and `where` {where.shape} are of tokens: make them one"
      " shape."
    )
  shapes = {(*policy.shape[:2], 1)}
  if not sample_ratio:
    shapes.add(policy.shape)
  if advantage.shape not in shapes:
    raise ValueError(
      f"advantages are {advantage.shape}; for {policy.shape} tokens with"
      f" sample_ratio={sample_ratio} make them"
      f" {' or '.join(map(str, sorted(shapes)))}."
    )
  policy, old = _kept(policy, where), _kept(old, where)
  if sample_ratio:
    policy = jnp.sum(policy, axis=-1, keepdims=True)
    old = jnp.sum(old, axis=-1, keepdims=True)
    where = jnp.any(where, axis=-1, keepdims=True)
  advantage = _kept(jnp.broadcast_to(advantage, where.shape), where)
  constants = jax.lax.stop_gradient((old, advantage))
  return _Units(policy, *constants, where)


def _kept(x: Array, where: Array) -> Array:
  """In float32; 0, without a gradient, where dropped."""
  return jnp.where(where, x.astype(jnp.float32), 0.0)


def _clipped(units: _Units, old, low: float, high: float):
  """The clipped surrogate, and what is cut off."""
  log_ratio = units.policy - old
  up, down = units.advantage > 0, units.advantage < 0
  above = up & (log_ratio > math.log1p(high))
  below = down & (log_ratio < math.log1p(-low))
  flows = (up & ~above) | (down & ~below)
  # A ratio that does not count may be inf, and 0 * inf a gradient of NaN.
  ratio = jnp.exp(jnp.where(flows, log_ratio, 0.0))
  limit = jnp.where(up, 1 + high, 1 - low)
  return -units.advantage * jnp.where(flows, ratio, limit), above | below


def _finish(
  name: str, loss, shares: dict, units: _Units, sample_mean: bool
) -> tuple[Array, Parts]:
  if sample_mean:
    count_GK = jnp.sum(units.where, axis=-1)
    total_GK = jnp.sum(jnp.where(units.where, loss, 0.0), axis=-1)
    each_GK = total_GK / jnp.maximum(count_GK, 1)
    mean = Mean.of(each_GK, where=count_GK > 0)
  else:
    mean = Mean.of(loss, where=units.where)
  parts = {name: mean}
  for share, there in shares.items():
    parts[share] = Mean.of(there.astype(jnp.float32), where=units.where)
  return mean.compute(), parts


def _check_clip(low: float, high: float, names: tuple[str, str]) -> None:
  if not 0 <= low < 1:
    raise ValueError(f"{names[0]}={low!r} must be at least 0 and below 1.")
  if not 0 <= high < math.inf:
    raise ValueError(f"{names[1]}={high!r} must be a number of 0 or more.")
