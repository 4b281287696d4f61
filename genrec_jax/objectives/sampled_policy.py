# SPDX-License-Identifier: Apache-2.0
"""Losses of rewards as parts of a config: samples against others of a request.

    PPOClip   the clipped surrogate                      arXiv 1707.06347
    GRPO      it, with a price on leaving the reference  arXiv 2402.03300
    DAPO      clip-higher, over all codes, only requests whose samples are
              not all worth the same                     arXiv 2503.14476
    ECPO      negatives are clipped early                arXiv 2506.13695
    GBPO      bounded gradients, nothing is clipped      arXiv 2508.20900

The advantage of a sample is its reward less the mean of its request, in
deviations of these (objectives/advantages.py); `normalize=False` takes rewards
as they are. Formulas, and what is logged: objectives/policy.py. Beside it are
logged `constant`, the share of requests whose samples are all worth the same,
which teach nothing, and `kl` in nats per code where it has a price.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_scales, check_shares
from genrec_jax.core.types import Batch, Items, Mean, Outputs, Samples
from genrec_jax.objectives import policy
from genrec_jax.objectives.advantages import group_advantages

Parts = dict[str, Mean]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfSamples:
  """What all of them share.

  Attributes:
    sample_ratio: one ratio per sample, not per code.
    sample_mean: mean over a sample's codes, then over samples.
    normalize: whether rewards are set against those of their request.
    varied_only: leave requests out whose samples are all worth the same.
    kl_weight: of the distance from the reference; 0 needs none.
    epsilon: added to the deviation of a request's rewards.
  """

  sample_ratio: bool = False
  sample_mean: bool = False
  normalize: bool = True
  varied_only: bool = False
  kl_weight: float = 0.0
  epsilon: float = 1e-6

  def __post_init__(self):
    check_scales(self, "config.objective", "kl_weight", "epsilon")

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
    """The loss over all codes of all samples.

    Raises:
      ValueError: a run without samples, or with a price on the distance from a
        reference that it has not.
    """
    del batch, rng, items, where, weights
    samples = Samples.of(outputs)
    reward_GK, where_GK = samples.reward_GK, samples.where_GK
    group = group_advantages(reward_GK, where=where_GK, epsilon=self.epsilon)
    where_GKT = samples.where_GKT
    if self.varied_only:
      where_GKT &= group.varied_G[:, None, None]
    advantage_GK = jnp.where(where_GK, reward_GK, 0.0)
    if self.normalize:
      advantage_GK = group.advantage_GK
    advantage_GK1 = jax.lax.stop_gradient(advantage_GK)[..., None]
    same = {"where": where_GKT, "sample_mean": self.sample_mean}
    loss, parts = self._loss(
      samples.policy_GKT,
      samples.old_GKT,
      advantage_GK1,
      sample_ratio=self.sample_ratio,
      **same,
    )
    parts = {**parts, "constant": group.constant}
    if self.kl_weight:
      kl, found = policy.reference_kl(
        samples.policy_GKT, samples.reference(), **same
      )
      loss, parts = loss + self.kl_weight * kl, {**parts, **found}
    return loss, parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOClip(_OfSamples):
  """PPO's clipped surrogate.

  Attributes:
    low: below a ratio of 1 - low a worse sample has no gradient.
    high: above 1 + high a better one has none.
  """

  low: float = 0.2
  high: float = 0.2

  def __post_init__(self):
    super().__post_init__()
    check_shares(self, "config.objective", "low")
    check_scales(self, "config.objective", "high")

  def _loss(self, *arguments, **options):
    return policy.ppo_clip(*arguments, low=self.low, high=self.high, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRPO(PPOClip):
  """PPOClip as GRPO has it; published with a kl_weight of .04."""

  sample_mean: bool = True
  kl_weight: float = 0.04


@dataclasses.dataclass(frozen=True, kw_only=True)
class DAPO(PPOClip):
  """PPOClip as DAPO has it."""

  high: float = 0.28
  varied_only: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ECPO(_OfSamples):
  """PPO with early clipping of negatives.

  Attributes:
    clip: low and high of PPOClip.
    delta: how far beyond 1 + clip a negative's ratio may be.
  """

  clip: float = 0.2
  delta: float = 0.1

  def __post_init__(self):
    super().__post_init__()
    check_shares(self, "config.objective", "clip")
    check_scales(self, "config.objective", "delta")

  def _loss(self, *arguments, **options):
    return policy.ecpo(
      *arguments, epsilon=self.clip, delta=self.delta, **options
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GBPO(_OfSamples):
  """Gradients of negatives bounded by those of -log(1 - pi)."""

  def _loss(self, *arguments, **options):
    return policy.gbpo(*arguments, **options)
