# SPDX-License-Identifier: Apache-2.0
"""Pure functions (Outputs, Batch) -> (loss, parts)."""

from genrec_jax.objectives.batch_items import BatchItemSoftmax
from genrec_jax.objectives.combine import WeightedSum
from genrec_jax.objectives.contrastive import InBatchContrastive
from genrec_jax.objectives.negatives import (
  InBatchNegatives,
  UniformPerPosition,
  UniformShared,
)
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.objectives.positives import Positives
from genrec_jax.objectives.reconstruction import Reconstruction
from genrec_jax.objectives.softmax import FullSoftmax, SampledSoftmax
from genrec_jax.objectives.tokens import CodeCrossEntropy

__all__ = [
  "BatchItemSoftmax",
  "BinaryCrossEntropy",
  "CodeCrossEntropy",
  "FullSoftmax",
  "InBatchContrastive",
  "InBatchNegatives",
  "Positives",
  "Reconstruction",
  "SampledSoftmax",
  "UniformPerPosition",
  "UniformShared",
  "WeightedSum",
]
