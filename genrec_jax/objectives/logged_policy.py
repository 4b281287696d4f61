# SPDX-License-Identifier: Apache-2.0
"""Learning from what came of logged items: one item and one reward a sample.

    A = +1   the `top_share` of the batch that was watched for longest, by q
    A = -1   refused or soon skipped, however long it was watched
    A =  0   everything else: no part of the loss
    loss     of config.objective.loss on log p(code | codes before, history)

OneRec-V2 (arXiv 2508.20900, sections 4 and 5): feedback of real users, no
groups of samples, no normalisation. q is features.WatchPercentiles', told by
the layout (data/layouts/watched.py); no gradient goes into any of it.

pi_old is that of the model's reference (models.WithReference) where it has one;
else the samples are another system's, and pi_old is the policy's own
probability, of which no gradient is taken: PPO's ratio is 1 then.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.advantages import top_share_advantages
from genrec_jax.objectives.policy_losses import PolicyLoss

Parts = dict[str, Mean]


@dataclasses.dataclass(frozen=True)
class LoggedPolicy:
  """See the module docstring.

  Attributes:
    loss: objectives.GBPO, ECPO or PPOClip.
    top_share: of a batch's targets with a known play time.
    negative_weight: of the advantages of -1.
  """

  loss: PolicyLoss
  top_share: float = 0.25
  negative_weight: float = 1.0

  def __post_init__(self):
    if not 0 < self.top_share <= 1:
      raise ValueError(
        f"config.objective.top_share={self.top_share} must be above 0 and at"
        " most 1."
      )
    if not 0 <= self.negative_weight < float("inf"):
      raise ValueError(
        f"config.objective.negative_weight={self.negative_weight} must be a"
        " number of 0 or more."
      )

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B S"] | None = None,
    weights: Float[Array, "B S"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """The loss; weights scale advantages. Parts: those of the loss, shares of
    targets with an advantage, and the mean log-probability of both kinds.

    Raises:
      ValueError: a layout that tells nothing of its targets.
    """
    del items
    if "target_percentile_BS" not in batch:
      raise ValueError(
        "objectives.LoggedPolicy learns from what came of targets: set"
        " config.pipeline.layout.watched."
      )
    asked_BS = batch["target_item_BS"] > 0
    if where is not None:
      asked_BS = asked_BS & where
    refused_BS = batch["target_refused_BS"] > 0
    advantage_BS = top_share_advantages(
      rng,
      batch["target_percentile_BS"],
      refused_BS,
      share=self.top_share,
      where=asked_BS,
    )
    shares = _shares(advantage_BS, asked_BS)
    advantage_BS = jnp.where(
      advantage_BS < 0, self.negative_weight * advantage_BS, advantage_BS
    )
    if weights is not None:
      advantage_BS = advantage_BS * weights
    codes_BSM = batch["target_codes_BSM"]
    policy_BSM = code_log_probabilities(outputs.logits, codes_BSM)
    reference = (outputs.aux or {}).get("reference_logits")
    old_BSM = policy_BSM
    if reference is not None:
      old_BSM = code_log_probabilities(reference, codes_BSM)
    used_BS = asked_BS & (advantage_BS != 0)
    used_BSM = jnp.broadcast_to(used_BS[:, :, None], codes_BSM.shape)
    loss, parts = self.loss(
      policy_BSM,
      jax.lax.stop_gradient(old_BSM),
      advantage_BS[:, :, None],
      where=used_BSM,
    )
    for name, sign in (("positive", 1), ("negative", -1)):
      mine_BSM = used_BSM & (sign * advantage_BS > 0)[:, :, None]
      parts[f"{name}_log_p"] = Mean.of(policy_BSM, where=mine_BSM)
    return loss, {**parts, **shares}


def code_log_probabilities(logits_BSMC: Array, codes_BSM: Array) -> Array:
  """log p of each code, (B, S, M), in float32."""
  log_p_BSMC = jax.nn.log_softmax(logits_BSMC.astype(jnp.float32))
  return jnp.take_along_axis(log_p_BSMC, codes_BSM[..., None], axis=-1)[..., 0]


def _shares(advantage_BS, asked_BS) -> Parts:
  return {
    name: Mean.of((advantage_BS == value).astype(jnp.float32), where=asked_BS)
    for name, value in (("positives", 1), ("negatives", -1))
  }
