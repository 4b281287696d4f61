# SPDX-License-Identifier: Apache-2.0
"""A loss whose positives count less where other retrievers have them already.

    c_t     retrievers that have label t among their first k
    w_t     1 where c_t = 0, else beta;   with `by_count`  beta^c_t
    w_t     x the weight of the label's segments, with `segments`

so that a model is trained for what the ensemble misses. With beta = 1 the loss
is what it was, bit by bit; with beta = 0 covered positives are none. The mean
is over weights, so what is down-weighted is made up for by the rest. Lists are
read of the batch (layouts.EventLists).
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import Batch, Items, Mean, Outputs

_WHERE = "config.objective"


@dataclasses.dataclass(frozen=True)
class CoverageWeights:
  """See the module docstring.

  Attributes:
    loss: of objectives/softmax.py, or another that takes weights.
    beta: from 0 to 1.
    k: places of a list in which an item counts as covered.
    by_count: beta for each retriever that has the item.
    segments: multiply by the weights of segments.
    label: name of the items to find in a batch.
  """

  loss: Callable[..., Any]
  beta: float = 0.5
  k: int = 10
  by_count: bool = False
  segments: bool = False
  label: str = "label_BL"

  def __post_init__(self):
    check_counts(self, _WHERE, "k")
    if not 0 <= self.beta <= 1:
      raise ValueError(f"{_WHERE}.beta={self.beta} must be from 0 to 1.")

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The weighted loss, its parts, and the share of covered positives.

    Raises:
      ValueError: a batch without places, or without weights of segments.
    """
    place_BLR = _read(batch, "place_BLR", "coverage")
    has_BLR = (place_BLR > 0) & (place_BLR <= self.k)
    covered_BL = jnp.any(has_BLR, axis=-1)
    less_BL = jnp.full(covered_BL.shape, self.beta, jnp.float32)
    if self.by_count:
      less_BL = less_BL ** jnp.sum(has_BLR, axis=-1, dtype=jnp.float32)
    weight_BL = jnp.where(covered_BL, less_BL, 1.0)
    if self.segments:
      weight_BL = weight_BL * _read(batch, "segment_weight_BL", "segments")
    if weights is not None:
      weight_BL = weight_BL * weights
    loss, parts = self.loss(
      outputs, batch, rng=rng, items=items, where=where, weights=weight_BL
    )
    counts_BL = batch[self.label] > 0
    if where is not None:
      counts_BL = counts_BL & where
    covered = Mean.of(covered_BL.astype(jnp.float32), where=counts_BL)
    # Parts come back by the alphabet, and the first is plotted as the loss.
    return loss, {**parts, "weighed_down": covered}


def _read(batch: Batch, name: str, option: str) -> Array:
  if name not in batch:
    raise ValueError(
      f"the layout makes no {name!r}, which {_WHERE} reads: set"
      f" config.pipeline.layout.lists.{option}."
    )
  return batch[name]
