# SPDX-License-Identifier: Apache-2.0
"""The reward of the log itself: did the sample have what came next?"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np


@dataclasses.dataclass(frozen=True)
class TrueNext:
  """1 where the true next item is among a sample's items, else 0."""

  low: ClassVar[float] = 0.0
  high: ClassVar[float] = 1.0
  constants: ClassVar[None] = None
  versions: ClassVar[Mapping[str, str]] = {}

  def bind(self, run: Any) -> "TrueNext":
    """It reads nothing."""
    del run
    return self

  def request_batch(self, requests: Any) -> dict[str, np.ndarray]:
    """It reads nothing but the target."""
    del requests
    return {}

  def __call__(
    self,
    constants: Any,
    item_GKN: Int[Array, "G K N"],
    target_G: Int[Array, "G"],
    batch: Mapping[str, Any],
  ) -> Float[Array, "G K"]:
    """See core/rollout_seams.py: Reward."""
    del constants, batch
    hit_GKN = (item_GKN == target_G[:, None, None]) & (item_GKN > 0)
    return jnp.any(hit_GKN, axis=2).astype(jnp.float32)
