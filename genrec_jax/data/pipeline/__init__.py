# SPDX-License-Identifier: Apache-2.0
"""Histories -> batches, the same for any number of processes."""

from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.pipeline.readers import Readers

__all__ = [
  "Readers",
  "training_batches",
]
