# SPDX-License-Identifier: Apache-2.0
"""Linen modules that backbones and models are made of."""

from genrec_jax.layers.action_heads import LinearHead, MMoE, SharedMlp, TaskMlp
from genrec_jax.layers.attention import SiluAttention, SoftmaxAttention
from genrec_jax.layers.content_grid import ContentGrid
from genrec_jax.layers.content_transformer import ContentTransformer
from genrec_jax.layers.cross_head import CrossHead
from genrec_jax.layers.diverse_quantizer import DiverseQuantizer
from genrec_jax.layers.event_merge import EventMerge
from genrec_jax.layers.expert_feed_forward import ExpertFeedForward
from genrec_jax.layers.feature_tokens import (
  FeatureGroups,
  GroupTokens,
  SlicedTokens,
)
from genrec_jax.layers.history_pooling import (
  DifferenceProduct,
  OuterProduct,
  SumPooling,
  TargetAttention,
)
from genrec_jax.layers.interactions import (
  Concat,
  CrossNetwork,
  DotInteraction,
  FactorizationMachine,
  Wukong,
)
from genrec_jax.layers.item_content import ContentMlp
from genrec_jax.layers.memory_bank import MemoryBank
from genrec_jax.layers.mixing_blocks import (
  HeadMixing,
  MixBlock,
  MixRevertBlock,
  SlotAttention,
)
from genrec_jax.layers.mixing_stack import MixingStack
from genrec_jax.layers.moe import MixtureOfExperts
from genrec_jax.layers.quantizer import ResidualQuantizer
from genrec_jax.layers.rotary_positions import RotaryPositions
from genrec_jax.layers.rotary_time import RotaryTime
from genrec_jax.layers.routers import ReluRouter, TopKRouter
from genrec_jax.layers.row_sampling import RowSampling
from genrec_jax.layers.slot_experts import SlotExperts, TwoRouterSlotExperts
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.layers.soft_quantizer import SoftQuantizer
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.layers.vector_features import VectorFeatures

__all__ = [
  "Concat",
  "ContentGrid",
  "ContentMlp",
  "ContentTransformer",
  "CrossHead",
  "CrossNetwork",
  "DifferenceProduct",
  "DiverseQuantizer",
  "DotInteraction",
  "EventMerge",
  "ExpertFeedForward",
  "FactorizationMachine",
  "FeatureGroups",
  "FeedForward",
  "GroupTokens",
  "HeadMixing",
  "LinearHead",
  "MMoE",
  "MemoryBank",
  "MixBlock",
  "MixRevertBlock",
  "MixingStack",
  "MixtureOfExperts",
  "OuterProduct",
  "ReluRouter",
  "ResidualQuantizer",
  "RotaryPositions",
  "RotaryTime",
  "RowSampling",
  "SharedMlp",
  "SiluAttention",
  "SlicedTokens",
  "SlotAttention",
  "SlotExperts",
  "SlotFeedForward",
  "SoftQuantizer",
  "SoftmaxAttention",
  "SumPooling",
  "TargetAttention",
  "TaskMlp",
  "TopKRouter",
  "TwoRouterSlotExperts",
  "VectorFeatures",
  "Wukong",
]
