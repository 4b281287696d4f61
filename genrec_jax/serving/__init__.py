# SPDX-License-Identifier: Apache-2.0
"""Trained models in use."""

from genrec_jax.ranking.two_stage import TwoStage
from genrec_jax.serving.loading import load, load_ranker
from genrec_jax.serving.ranker import Ranker
from genrec_jax.serving.recommender import Recommender

__all__ = [
  "Ranker",
  "Recommender",
  "TwoStage",
  "load",
  "load_ranker",
]
