# SPDX-License-Identifier: Apache-2.0
"""What a config and a workdir stand for."""

from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.mined_negatives import mine_negatives, teacher_of
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.restored import load_params
from genrec_jax.experiment.trained_items import TrainedItems
from genrec_jax.experiment.trained_tokenizer import TrainedTokenizer

__all__ = [
  "Program",
  "Run",
  "TrainedItems",
  "TrainedTokenizer",
  "load_params",
  "mine_negatives",
  "teacher_of",
]
