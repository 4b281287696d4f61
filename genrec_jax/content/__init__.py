# SPDX-License-Identifier: Apache-2.0
"""Texts of items, and vectors of them."""

from genrec_jax.content.fields import (
  FieldEncoder,
  FittedFields,
  Labels,
  Numbers,
)
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.text_encoder import TextEncoder
from genrec_jax.content.tfidf import FittedTfidf, TfidfSvd

__all__ = [
  "FieldEncoder",
  "FittedFields",
  "FittedTfidf",
  "ItemVectors",
  "Labels",
  "Numbers",
  "TextEncoder",
  "TfidfSvd",
]
