# SPDX-License-Identifier: Apache-2.0
"""What decoding asks of a model: logits of the next code, and a cache.

    start()                                     -> cache, logits of level 0
    step(cache, level, codes_BK, parents_BK)    -> cache, logits of `level`

A model is bound to its parameters and to a batch of requests before it gets
here: histories are read once, and their keys and values are shared by all
beams of a request. The cache is an opaque pytree, which the model itself
rearranges by `parents_BK`.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.seams import StepModel


@runtime_checkable
class Decoder(StepModel, Protocol):
  """A model that has read its requests."""

  def start(self) -> tuple[Any, Float[Array, "B C"]]:
    """A cache, and logits of level 0 of every request."""


def log_probs(
  logits: Float[Array, "B *K C"], level: int, level_sizes: tuple[int, ...]
) -> Float[Array, "B *K C"]:
  """Log-probabilities (float32) over all codes of the level.

  Not renormalised over codes that can be continued: sums over levels are the
  model's own log p(codes). Where the logits are no numbers it is +inf.

  Raises:
    ValueError: the decoder has another number of codes at this level.
  """
  if logits.shape[-1] != level_sizes[level]:
    raise ValueError(
      f"the decoder gives {logits.shape[-1]} logits at level {level}, and the"
      f" level sizes are {level_sizes}: the model and the item tokens do not"
      " belong together"
    )
  found = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
  # A top-k would take NaN for -inf, and nobody would know. This comes first
  # everywhere, and who reads the scores refuses it (core/finite.py).
  return jnp.where(jnp.isnan(found), jnp.inf, found)
