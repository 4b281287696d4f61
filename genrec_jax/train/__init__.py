# SPDX-License-Identifier: Apache-2.0
"""The step, the loop, optimizers and checkpoints."""

from genrec_jax.train.frozen import Frozen
from genrec_jax.train.loop import Loop, LoopOptions
from genrec_jax.train.optimizers import Constant, Cosine, Linear, adamw
from genrec_jax.train.rowwise import (
  DenseAndRowwise,
  RowwiseAdagrad,
  RowwiseAdamW,
)

__all__ = [
  "Constant",
  "Cosine",
  "DenseAndRowwise",
  "Frozen",
  "Linear",
  "Loop",
  "LoopOptions",
  "RowwiseAdagrad",
  "RowwiseAdamW",
  "adamw",
]
