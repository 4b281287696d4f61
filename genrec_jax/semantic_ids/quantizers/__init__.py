# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: vectors -> codes, and back."""

from genrec_jax.semantic_ids.quantizers.balanced_tree import (
  BalancedTree,
  TreeCodes,
)
from genrec_jax.semantic_ids.quantizers.field_codes import (
  FieldCodes,
  FittedFieldCodes,
)
from genrec_jax.semantic_ids.quantizers.mlp_quantizer import MlpQuantizer
from genrec_jax.semantic_ids.quantizers.opq import (
  ProductCodes,
  ProductQuantization,
)
from genrec_jax.semantic_ids.quantizers.rq_kmeans import (
  ResidualCodes,
  ResidualKMeans,
)
from genrec_jax.semantic_ids.quantizers.variable_codes import VariableCodes

__all__ = [
  "BalancedTree",
  "FieldCodes",
  "FittedFieldCodes",
  "MlpQuantizer",
  "ProductCodes",
  "ProductQuantization",
  "ResidualCodes",
  "ResidualKMeans",
  "TreeCodes",
  "VariableCodes",
]
