# SPDX-License-Identifier: Apache-2.0
"""How a history becomes model input: Record -> Example -> Batch."""

from genrec_jax.data.layouts.actions import ActionOriented, Fused, Interleaved
from genrec_jax.data.layouts.audience_rows import AudienceRows
from genrec_jax.data.layouts.catalog import CatalogRows
from genrec_jax.data.layouts.condition_items import ConditionItems
from genrec_jax.data.layouts.conditions import Condition, Conditions
from genrec_jax.data.layouts.event_groups import EventGroups
from genrec_jax.data.layouts.event_lists import EventLists
from genrec_jax.data.layouts.joint import (
  JointActionOriented,
  JointFused,
  JointInterleaved,
)
from genrec_jax.data.layouts.labelled_lists import LabelledLists
from genrec_jax.data.layouts.list_targets import ListTargets
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.layouts.next_item_codes import NextItemCodes
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.layouts.queries import LastTaken, RequestQuery
from genrec_jax.data.layouts.segment_weights import SegmentWeights
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.data.layouts.shown_together import ShownTogether
from genrec_jax.data.layouts.stochastic_length import StochasticLength
from genrec_jax.data.layouts.suffix_length import SuffixLength
from genrec_jax.data.layouts.token_targets import TokenTargets
from genrec_jax.data.layouts.told_context import ToldContext
from genrec_jax.data.layouts.tree_history import TreeHistory
from genrec_jax.data.layouts.typed_tokens import TypedTokens
from genrec_jax.data.layouts.vector_columns import VectorColumns
from genrec_jax.data.layouts.watched import Watched

__all__ = [
  "ActionOriented",
  "AudienceRows",
  "CatalogRows",
  "Condition",
  "ConditionItems",
  "Conditions",
  "EventGroups",
  "EventLists",
  "Fused",
  "Interleaved",
  "JointActionOriented",
  "JointFused",
  "JointInterleaved",
  "LabelledLists",
  "LastTaken",
  "ListTargets",
  "NextItem",
  "NextItemCodes",
  "PointwiseRows",
  "RequestQuery",
  "SegmentWeights",
  "ShownTogether",
  "StochasticLength",
  "SuffixLength",
  "TokenHistory",
  "TokenPrefixes",
  "TokenTargets",
  "ToldContext",
  "TreeHistory",
  "TypedTokens",
  "VectorColumns",
  "Watched",
]
