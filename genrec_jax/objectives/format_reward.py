# SPDX-License-Identifier: Apache-2.0
"""Learning to write codes that some item has, of samples drawn without a trie.

    config.rollout.drawer = {"name": "rollout.SampledCodes", "num_samples": 128}
    config.objective = {"name": "objectives.WeightedSum", "objectives": {
      "codes": {...}, "format": {"name": "objectives.FormatReward", ...}}, ...}

What presses down bad samples also presses probability onto codes that nobody
has ("squeezing", arXiv 2506.13695). Of every request `count` samples are drawn
of those that there are; the legal ones have advantage 1, and the others are
left out (objectives/advantages.py). `likeliest` takes the most probable ones
instead. Samples through a trie are all legal, which teaches nothing of form.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import Batch, Items, Mean, Outputs, Samples
from genrec_jax.objectives.advantages import format_advantages
from genrec_jax.objectives.policy_losses import ECPO, PolicyLoss


@dataclasses.dataclass(frozen=True)
class FormatReward:
  """See the module docstring.

  Attributes:
    loss: objectives.PPOClip, ECPO or GBPO.
    count: samples taken of each request.
    likeliest: the most probable in place of any.
  """

  loss: PolicyLoss = ECPO()
  count: int = 5
  likeliest: bool = False

  def __post_init__(self):
    check_counts(self, "config.objective", "count")

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The loss over the legal samples taken, and `legal`, the share of all.

    Raises:
      ValueError: a run without samples.
    """
    del batch, items, where, weights
    samples = Samples.of(outputs)
    legal_GK = samples.where_GK
    log_p_GK = jnp.sum(samples.policy_GKT, axis=2)
    advantage_GK, kept_GK = format_advantages(
      rng,
      legal_GK,
      count=self.count,
      by_GK=log_p_GK if self.likeliest else None,
    )
    loss, parts = self.loss(
      samples.policy_GKT,
      samples.old_GKT,
      advantage_GK[..., None],
      where=samples.where_GKT & kept_GK[..., None],
    )
    legal = Mean.of(legal_GK.astype(jnp.float32))
    return loss, {**parts, "legal": legal}
