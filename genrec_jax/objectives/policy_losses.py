# SPDX-License-Identifier: Apache-2.0
"""Losses on rewards (policy.py) as parts of a config, with their options.

    BoundedGradient  GBPO        EarlyClip  ECPO        RatioClip  PPO-clip

Each answers loss(policy_GKM, old_GKM, advantage, where=...) -> (loss, parts)
and takes the mean over a sample's tokens, then over samples. What advantages
are is said by who asks: logged_policy.py.
"""

import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

from genrec_jax.core.types import Mean
from genrec_jax.objectives import policy

Parts = dict[str, Mean]


@runtime_checkable
class PolicyLoss(Protocol):
  """A loss on log-probabilities of what was shown, and on what came of it."""

  def __call__(
    self,
    policy_GKM: Float[Array, "G K M"],
    old_GKM: Float[Array, "G K M"],
    advantage: Float[Array, "G K #M"],
    *,
    where: Bool[Array, "G K M"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The loss, and its parts by name."""


@dataclasses.dataclass(frozen=True)
class BoundedGradient:
  """GBPO: policy.gbpo.

  Attributes:
    sample_ratio: one ratio per item, of the product over its codes.
  """

  sample_ratio: bool = False

  def __call__(
    self,
    policy_GKM: Float[Array, "G K M"],
    old_GKM: Float[Array, "G K M"],
    advantage: Float[Array, "G K #M"],
    *,
    where: Bool[Array, "G K M"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The loss, and its parts by name."""
    return policy.gbpo(
      policy_GKM, old_GKM, advantage, where=where, sample_mean=True,
      sample_ratio=self.sample_ratio,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EarlyClip:
  """ECPO: policy.ecpo, whose options these are."""

  epsilon: float = 0.2
  delta: float = 0.1
  sample_ratio: bool = False

  def __call__(
    self,
    policy_GKM: Float[Array, "G K M"],
    old_GKM: Float[Array, "G K M"],
    advantage: Float[Array, "G K #M"],
    *,
    where: Bool[Array, "G K M"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The loss, and its parts by name."""
    return policy.ecpo(
      policy_GKM, old_GKM, advantage, where=where, sample_mean=True,
      epsilon=self.epsilon, delta=self.delta, sample_ratio=self.sample_ratio,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RatioClip:
  """PPO-clip: policy.ppo_clip, whose options these are."""

  low: float = 0.2
  high: float = 0.2
  sample_ratio: bool = False

  def __call__(
    self,
    policy_GKM: Float[Array, "G K M"],
    old_GKM: Float[Array, "G K M"],
    advantage: Float[Array, "G K #M"],
    *,
    where: Bool[Array, "G K M"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The loss, and its parts by name."""
    return policy.ppo_clip(
      policy_GKM, old_GKM, advantage, where=where, sample_mean=True,
      low=self.low, high=self.high, sample_ratio=self.sample_ratio,
    )  # fmt: skip
