# SPDX-License-Identifier: Apache-2.0
"""The step, the loop, optimizers and checkpoints."""

from genrec_jax.train.frozen import Frozen
from genrec_jax.train.guards import AtLeast, FallAtMost, RiseAtMost
from genrec_jax.train.loop import Loop, LoopOptions
from genrec_jax.train.optimizers import Constant, Cosine, Linear, adamw
from genrec_jax.train.rowwise import (
  DenseAndRowwise,
  RowwiseAdagrad,
  RowwiseAdamW,
)

__all__ = [
  "AtLeast",
  "Constant",
  "Cosine",
  "DenseAndRowwise",
  "FallAtMost",
  "Frozen",
  "Linear",
  "Loop",
  "LoopOptions",
  "RiseAtMost",
  "RowwiseAdagrad",
  "RowwiseAdamW",
  "adamw",
]
