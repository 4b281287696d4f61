# SPDX-License-Identifier: Apache-2.0
"""Searches: query -> the best items of the catalogue."""

from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.generative import (
  Beam,
  BestFirst,
  Exact,
  Generative,
  PrefixMatch,
)
from genrec_jax.retrieval.model_search import ModelSearch
from genrec_jax.retrieval.scann import Scann

__all__ = [
  "Beam",
  "BestFirst",
  "BruteForce",
  "Exact",
  "Generative",
  "ModelSearch",
  "PrefixMatch",
  "Scann",
]
