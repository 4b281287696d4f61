# SPDX-License-Identifier: Apache-2.0
"""Linen modules batch -> Outputs: the published systems."""

from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.models.cobra import Cobra
from genrec_jax.models.condition_item import ConditionItem
from genrec_jax.models.content_next_item import ContentNextItem
from genrec_jax.models.content_ranker import ContentRanker
from genrec_jax.models.context_seq2seq import ContextSeq2Seq
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.models.item_code_decoder import ItemCodeDecoder
from genrec_jax.models.item_code_vector_decoder import ItemCodeVectorDecoder
from genrec_jax.models.joint_ranker import JointRanker
from genrec_jax.models.letter import Letter
from genrec_jax.models.liger import Liger
from genrec_jax.models.liger_seq2seq import LigerSeq2Seq
from genrec_jax.models.list_reward import ListReward
from genrec_jax.models.list_seq2seq import ListSeq2Seq
from genrec_jax.models.long_history_ranker import LongHistoryRanker
from genrec_jax.models.next_item import NextItem
from genrec_jax.models.rqvae import RQVAE
from genrec_jax.models.slot_ranker import SlotRanker
from genrec_jax.models.token_baseline import TokenBaseline
from genrec_jax.models.token_decoder import TokenDecoder
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from genrec_jax.models.tree_decoder import TreeDecoder
from genrec_jax.models.two_tower import TwoTower
from genrec_jax.models.variable_length import VariableLength
from genrec_jax.models.with_reference import WithReference

__all__ = [
  "ActionRanker",
  "Cobra",
  "ConditionItem",
  "ContentNextItem",
  "ContentRanker",
  "ContextSeq2Seq",
  "FeatureRanker",
  "ItemCodeDecoder",
  "ItemCodeVectorDecoder",
  "JointRanker",
  "Letter",
  "Liger",
  "LigerSeq2Seq",
  "ListReward",
  "ListSeq2Seq",
  "LongHistoryRanker",
  "NextItem",
  "RQVAE",
  "SlotRanker",
  "TokenBaseline",
  "TokenDecoder",
  "TokenSeq2Seq",
  "TreeDecoder",
  "TwoTower",
  "VariableLength",
  "WithReference",
]
