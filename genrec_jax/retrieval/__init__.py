# SPDX-License-Identifier: Apache-2.0
"""Searches: query -> the best items of the catalogue.

A query is a vector for the indexes (brute_force, scann) and a whole Requests
for searches that read the history itself: those of a model that generates are
strategies (strategy.py), named by config.retrieval. An Ensemble asks several
searches, and its rule joins what they find. `allowed` is an ItemMask
(data/item_mask.py), or None for all items.
"""

from genrec_jax.retrieval.beam_fusion import BeamFusion
from genrec_jax.retrieval.beam_lists import BeamLists
from genrec_jax.retrieval.beam_union import BeamUnion
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.ensemble import Ensemble, Quotas, ReciprocalRank
from genrec_jax.retrieval.generative import (
  Beam,
  BestFirst,
  Exact,
  Generative,
  PrefixBackOff,
  PrefixMatch,
)
from genrec_jax.retrieval.model_search import ModelSearch
from genrec_jax.retrieval.over_children import OverChildren
from genrec_jax.retrieval.scann import Scann

__all__ = [
  "Beam",
  "BeamFusion",
  "BeamLists",
  "BeamUnion",
  "BestFirst",
  "BruteForce",
  "Ensemble",
  "Exact",
  "Generative",
  "ModelSearch",
  "OverChildren",
  "PrefixBackOff",
  "PrefixMatch",
  "Quotas",
  "ReciprocalRank",
  "Scann",
]
