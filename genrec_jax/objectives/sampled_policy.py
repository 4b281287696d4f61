# SPDX-License-Identifier: Apache-2.0
"""Learning from rewards of samples, against others of the same request.

    SampledPolicy  any loss of policy_losses.py
    GRPO           its settings of arXiv 2402.03300
    DAPO           those of arXiv 2503.14476

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

from genrec_jax.core.option_checks import check_scales
from genrec_jax.core.types import Batch, Items, Mean, Outputs, Samples
from genrec_jax.objectives import policy
from genrec_jax.objectives.advantages import group_advantages
from genrec_jax.objectives.policy_losses import PolicyLoss, PPOClip

Parts = dict[str, Mean]


@dataclasses.dataclass(frozen=True)
class SampledPolicy:
  """See the module docstring.

  Attributes:
    loss: objectives.PPOClip, ECPO or GBPO.
    normalize: whether rewards are set against those of their request.
    varied_only: leave requests out whose samples are all worth the same.
    kl_weight: of the distance from the reference; 0 needs none.
    epsilon: added to the deviation of a request's rewards.
  """

  loss: PolicyLoss
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
    loss, parts = self.loss(
      samples.policy_GKT, samples.old_GKT, advantage_GK1, where=where_GKT
    )
    parts = {**parts, "constant": group.constant}
    if self.kl_weight:
      kl, found = policy.reference_kl(
        samples.policy_GKT,
        samples.reference(),
        where=where_GKT,
        sample_mean=self.loss.sample_mean,
      )
      loss, parts = loss + self.kl_weight * kl, {**parts, **found}
    return loss, parts


@dataclasses.dataclass(frozen=True)
class GRPO(SampledPolicy):
  """PPOClip with a price on leaving the reference; published: .04."""

  loss: PolicyLoss = PPOClip()
  kl_weight: float = 0.04


@dataclasses.dataclass(frozen=True)
class DAPO(SampledPolicy):
  """PPOClip as DAPO has it: clip-higher, over all codes, what varies alone."""

  loss: PolicyLoss = PPOClip(high=0.28, sample_mean=False)
  varied_only: bool = True
