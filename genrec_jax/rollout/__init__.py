# SPDX-License-Identifier: Apache-2.0
"""Samples that a model draws, what they are worth, and pairs of them."""

from genrec_jax.rollout.drawers import BeamItems, SampledCodes, SampledItems
from genrec_jax.rollout.list_drawers import BestLists, SampledLists
from genrec_jax.rollout.made_pairs import make_pairs
from genrec_jax.rollout.online import Online
from genrec_jax.rollout.sample_quality import SampleQuality
from genrec_jax.rollout.stored_pairs import StoredPairs

__all__ = [
  "BeamItems",
  "BestLists",
  "Online",
  "SampleQuality",
  "SampledCodes",
  "SampledItems",
  "SampledLists",
  "StoredPairs",
  "make_pairs",
]
