# SPDX-License-Identifier: Apache-2.0
"""What is measured of a trained model: one evaluator a file."""

from genrec_jax.evaluation.beyond_accuracy import BeyondAccuracy
from genrec_jax.evaluation.by_scene import ByScene
from genrec_jax.evaluation.code_quality import CodeQuality
from genrec_jax.evaluation.decoding import Decoding
from genrec_jax.evaluation.incremental_recall import IncrementalRecall
from genrec_jax.evaluation.list_auc import ListAuc
from genrec_jax.evaluation.list_recall import ListRecall
from genrec_jax.evaluation.next_item import NextItem
from genrec_jax.evaluation.search_stages import SearchStages
from genrec_jax.evaluation.served_list import ServedList
from genrec_jax.evaluation.shown_items import ShownItems
from genrec_jax.evaluation.taken_items import TakenItems
from genrec_jax.evaluation.within_requests import WithinRequests

__all__ = [
  "BeyondAccuracy",
  "ByScene",
  "CodeQuality",
  "Decoding",
  "IncrementalRecall",
  "ListAuc",
  "ListRecall",
  "NextItem",
  "SearchStages",
  "ServedList",
  "ShownItems",
  "TakenItems",
  "WithinRequests",
]
