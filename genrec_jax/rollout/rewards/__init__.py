# SPDX-License-Identifier: Apache-2.0
"""What samples are worth: config.rollout.reward."""

from genrec_jax.rollout.rewards.of_runs import TrainedReward, VectorScore
from genrec_jax.rollout.rewards.true_next import TrueNext

__all__ = ["TrainedReward", "TrueNext", "VectorScore"]
