# SPDX-License-Identifier: Apache-2.0
"""Items that are given, in the order of what a user would do with them."""

from genrec_jax.ranking.slates import Diverse, Greedy, Sequential
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.ranking.what_if import REMOVED, Change
from genrec_jax.serving.ranker import Ranker, load_ranker
from genrec_jax.serving.two_stage import TwoStage

__all__ = [
  "REMOVED",
  "Change",
  "Diverse",
  "Greedy",
  "Ranker",
  "Sequential",
  "TwoStage",
  "ValueFunction",
  "load_ranker",
]
