# SPDX-License-Identifier: Apache-2.0
"""What a tokenizer in training is watched by: the codes of all items.

    config.evals.code_quality = {"name": "evaluation.CodeQuality"}

    explained     1 - |v - v^|^2 / |v - mean|^2, v^ decoded from the codes
    uniqueness    distinct codes / items, before any rule that makes them unique
    utilisation   share of codes in use, of the level with the smallest
    balance       perplexity / codes, of the level with the smallest

All are better higher. Items are those of the whole catalogue: codes are asked
for all of them, and no target of a user is looked at.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded


@dataclasses.dataclass(frozen=True)
class CodeQuality(Unwatched):
  """Codes all items with the tokenizer of these parameters."""

  @property
  def names(self) -> tuple[str, ...]:
    """Metrics that config.train.monitor may name."""
    return ("explained", "uniqueness", "utilisation", "balance")

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a model is no tokenizer."""
    seams.require(run.system, seams.TokenizerModel, "config.system")

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """The metrics, and "used_1", "used_2", ... of the levels."""
    del program
    tokenizer = run.system.tokenizer(jax.device_get(params))
    vectors_ND = run.artifacts.vectors()[1:]
    codes_NM = tokenizer.encode(vectors_ND)
    return {
      "explained": explained(vectors_ND, tokenizer.decode(codes_NM)),
      **code_metrics(codes_NM, tokenizer.level_sizes),
    }

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """{"metrics": {"items": {...}}}: no part of the split is looked at."""
    del baselines
    found = self.validate(run, loaded.params, None)
    return {"metrics": {"items": found}}, None

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    metrics = document["metrics"]["items"]
    return "\n".join(
      ["codes of all items:", *(f"  {n:14}{v:.4f}" for n, v in metrics.items())]
    )


def explained(
  vectors_ND: Float[np.ndarray, "N D"], decoded_ND: Float[np.ndarray, "N D"]
) -> float:
  """Share of the vectors' variance that survives."""
  mean_D = vectors_ND.mean(axis=0, dtype=np.float64)
  total = np.square(vectors_ND - mean_D[None, :]).sum(dtype=np.float64)
  left = np.square(vectors_ND - decoded_ND).sum(dtype=np.float64)
  return float(1 - left / max(total, 1e-12))


def code_metrics(
  codes_NM: Int[np.ndarray, "N M"], level_sizes: tuple[int, ...]
) -> dict[str, float]:
  """Uniqueness of codes, and use of the levels."""
  used, balance = [], []
  for level, size in enumerate(level_sizes):
    share_C = np.bincount(codes_NM[:, level], minlength=size) / len(codes_NM)
    some = share_C[share_C > 0]
    used.append(len(some) / size)
    balance.append(float(np.exp(-(some * np.log(some)).sum())) / size)
  return {
    "uniqueness": len(np.unique(codes_NM, axis=0)) / len(codes_NM),
    "utilisation": min(used),
    "balance": min(balance),
    **{f"used_{i}": share for i, share in enumerate(used, start=1)},
  }
