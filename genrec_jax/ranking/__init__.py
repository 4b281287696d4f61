# SPDX-License-Identifier: Apache-2.0
"""Given items in the order of what a user would do with them."""

from genrec_jax.ranking.slates import Diverse, Greedy, Sequential
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.ranking.what_if import REMOVED, Change

__all__ = [
  "Change",
  "Diverse",
  "Greedy",
  "REMOVED",
  "Sequential",
  "ValueFunction",
]
