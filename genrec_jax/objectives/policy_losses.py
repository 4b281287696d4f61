# SPDX-License-Identifier: Apache-2.0
"""Losses on rewards (policy.py) as parts of a config, with their options.

    PPOClip   the clipped surrogate                      arXiv 1707.06347
    ECPO      negatives are clipped early                arXiv 2506.13695
    GBPO      bounded gradients, nothing is clipped      arXiv 2508.20900

Each answers loss(policy_GKM, old_GKM, advantage, where=...) -> (loss, parts).
What advantages are is said by who asks: sampled_policy.py of samples that the
model drew, logged_policy.py of what was shown to users.
"""

import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

from genrec_jax.core.option_checks import check_scales, check_shares
from genrec_jax.core.types import Mean
from genrec_jax.objectives import policy

Parts = dict[str, Mean]
_WHERE = "config.objective.loss"


@runtime_checkable
class PolicyLoss(Protocol):
  """A loss on log-probabilities of what was shown, and on what came of it.

  Attributes:
    sample_mean: whether samples count alike, however many codes they have.
  """

  sample_mean: bool

  def __call__(
    self,
    policy_GKM: Float[Array, "G K M"],
    old_GKM: Float[Array, "G K M"],
    advantage: Float[Array, "G K #M"],
    *,
    where: Bool[Array, "G K M"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The loss, and its parts by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Loss:
  """What all of them share.

  Attributes:
    sample_ratio: one ratio per sample, of the product over its codes.
    sample_mean: mean over a sample's codes, then over samples; False: over all
      codes.
  """

  sample_ratio: bool = False
  sample_mean: bool = True

  def __call__(
    self,
    policy_GKM: Float[Array, "G K M"],
    old_GKM: Float[Array, "G K M"],
    advantage: Float[Array, "G K #M"],
    *,
    where: Bool[Array, "G K M"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """See PolicyLoss."""
    return self._loss(
      policy_GKM,
      old_GKM,
      advantage,
      where=where,
      sample_ratio=self.sample_ratio,
      sample_mean=self.sample_mean,
    )

  def _loss(self, *arguments, **options) -> tuple[Array, Parts]:
    """The function of policy.py, with what is its own."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOClip(_Loss):
  """policy.ppo_clip.

  Attributes:
    low: below a ratio of 1 - low a worse sample has no gradient.
    high: above 1 + high a better one has none.
  """

  low: float = 0.2
  high: float = 0.2

  def __post_init__(self):
    check_shares(self, _WHERE, "low")
    check_scales(self, _WHERE, "high")

  def _loss(self, *arguments, **options):
    return policy.ppo_clip(*arguments, low=self.low, high=self.high, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ECPO(_Loss):
  """policy.ecpo.

  Attributes:
    clip: low and high of PPOClip.
    delta: how far beyond 1 + clip a negative's ratio may be.
  """

  clip: float = 0.2
  delta: float = 0.1

  def __post_init__(self):
    check_shares(self, _WHERE, "clip")
    check_scales(self, _WHERE, "delta")

  def _loss(self, *arguments, **options):
    return policy.ecpo(
      *arguments, epsilon=self.clip, delta=self.delta, **options
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GBPO(_Loss):
  """policy.gbpo: gradients of negatives bounded by those of -log(1 - pi)."""

  def _loss(self, *arguments, **options):
    return policy.gbpo(*arguments, **options)
