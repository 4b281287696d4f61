# SPDX-License-Identifier: Apache-2.0
"""Texts of items, and what is made of them: vectors, tokens."""

from genrec_jax.content.fields import (
  FieldEncoder,
  FittedFields,
  Labels,
  Numbers,
)
from genrec_jax.content.hashed_words import HashedWords
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.number_list import NumberList
from genrec_jax.content.percentile_words import PercentileWords
from genrec_jax.content.text_encoder import TextEncoder
from genrec_jax.content.text_tokens import TextTokens
from genrec_jax.content.tfidf import FittedTfidf, TfidfSvd
from genrec_jax.content.word_pieces import WordPieces

__all__ = [
  "FieldEncoder",
  "FittedFields",
  "FittedTfidf",
  "HashedWords",
  "ItemVectors",
  "Labels",
  "NumberList",
  "Numbers",
  "PercentileWords",
  "TextEncoder",
  "TextTokens",
  "TfidfSvd",
  "WordPieces",
]
