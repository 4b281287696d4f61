# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: vectors -> codes, and back."""

from genrec_jax.semantic_ids.quantizers.mlp_quantizer import MlpQuantizer
from genrec_jax.semantic_ids.quantizers.opq import (
  ProductCodes,
  ProductQuantization,
)
from genrec_jax.semantic_ids.quantizers.rq_kmeans import (
  ResidualCodes,
  ResidualKMeans,
)

__all__ = [
  "MlpQuantizer",
  "ProductCodes",
  "ProductQuantization",
  "ResidualCodes",
  "ResidualKMeans",
]
