# SPDX-License-Identifier: Apache-2.0
"""The codes of items: made, kept, changed, and what they are worth."""

from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.joined_vectors import JoinedVectors
from genrec_jax.semantic_ids.uniqueness import (
  DedupLevel,
  RandomLastLevel,
  SinkhornLastLevel,
)

__all__ = [
  "DedupLevel",
  "ItemTokens",
  "JoinedVectors",
  "RandomLastLevel",
  "SinkhornLastLevel",
]
