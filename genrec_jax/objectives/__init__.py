# SPDX-License-Identifier: Apache-2.0
"""Pure functions (Outputs, Batch) -> (loss, parts).

Losses on log-probabilities (preference, policy, advantages) are functions of
arrays and are imported from their modules; sampled_preference and
sampled_policy make parts of a config of them.
"""

from genrec_jax.objectives.aux_logits import AuxLogits, Distillation
from genrec_jax.objectives.batch_items import BatchItemSoftmax
from genrec_jax.objectives.code_alignment import CodeAlignment, CodeDiversity
from genrec_jax.objectives.combine import WeightedSum
from genrec_jax.objectives.contrastive import InBatchContrastive
from genrec_jax.objectives.coverage import CoverageWeights
from genrec_jax.objectives.format_reward import FormatReward
from genrec_jax.objectives.hard_negatives import (
  FromLists,
  HardBlock,
  PositiveAware,
)
from genrec_jax.objectives.label_weights import ByPlace, ByPropensity, ByTime
from genrec_jax.objectives.list_labels import ListCrossEntropy
from genrec_jax.objectives.logged_policy import LoggedPolicy
from genrec_jax.objectives.memory_figures import MemoryFigures
from genrec_jax.objectives.negatives import (
  InBatchNegatives,
  Mixed,
  UniformPerPosition,
  UniformShared,
)
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.objectives.policy_losses import ECPO, GBPO, PPOClip
from genrec_jax.objectives.positives import Positives
from genrec_jax.objectives.query_document import QueryDocumentContrast
from genrec_jax.objectives.reconstruction import Reconstruction
from genrec_jax.objectives.routing import RoutingLoss
from genrec_jax.objectives.sampled_policy import DAPO, GRPO, SampledPolicy
from genrec_jax.objectives.sampled_preference import DPO, IPO, SoftmaxDPO
from genrec_jax.objectives.softmax import FullSoftmax, SampledSoftmax
from genrec_jax.objectives.target_weights import TakenTargets
from genrec_jax.objectives.tokens import CodeCrossEntropy
from genrec_jax.objectives.tree import ChildAlignment, PrefixRanking
from genrec_jax.objectives.typed import TypedCrossEntropy
from genrec_jax.objectives.variable_length import VariableLengthBound

__all__ = [
  "AuxLogits",
  "BatchItemSoftmax",
  "BinaryCrossEntropy",
  "ByPlace",
  "ByPropensity",
  "ByTime",
  "ChildAlignment",
  "CodeAlignment",
  "CodeCrossEntropy",
  "CodeDiversity",
  "CoverageWeights",
  "DAPO",
  "DPO",
  "Distillation",
  "ECPO",
  "FormatReward",
  "FromLists",
  "FullSoftmax",
  "GBPO",
  "GRPO",
  "HardBlock",
  "IPO",
  "InBatchContrastive",
  "InBatchNegatives",
  "ListCrossEntropy",
  "LoggedPolicy",
  "MemoryFigures",
  "Mixed",
  "PPOClip",
  "PositiveAware",
  "Positives",
  "PrefixRanking",
  "QueryDocumentContrast",
  "Reconstruction",
  "RoutingLoss",
  "SampledPolicy",
  "SampledSoftmax",
  "SoftmaxDPO",
  "TakenTargets",
  "TypedCrossEntropy",
  "UniformPerPosition",
  "UniformShared",
  "VariableLengthBound",
  "WeightedSum",
]
