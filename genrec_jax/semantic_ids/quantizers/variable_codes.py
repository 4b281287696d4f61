# SPDX-License-Identifier: Apache-2.0
"""Codes of as many levels as an item needs; levels beyond say "stopped".

    z = E(x);  length = argmax_l (W z + b);  c_t nearest to what is left, t <= l
    codes = c_1 .. c_l  C C .. C         C, one more than any code: stopped

One vocabulary of codes for all levels (models/variable_length.py). "Stopped" is
an end mark that codes carry, so no item's codes are the start of another's;
where two items have equal codes a level that numbers them (DedupLevel) comes
last, as the published unique token. After the first "stopped" there is no
alternative to another one: with a softmax over children these levels are
certain and cost nothing, though they are tokens that a model reads.
Shapes: N vectors, M levels, C codes of width K.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.kmeans import nearest, squared_distances
from genrec_jax.semantic_ids.quantizers.base import fitted
from genrec_jax.semantic_ids.quantizers.mlp_quantizer import (
  ARRAYS,
  MlpQuantizer,
  mlp,
)

# What a code costs that an item's length does not allow.
_NEVER = 1e30


@fitted(*ARRAYS, "stop_kernel", "stop_bias")
@dataclasses.dataclass(frozen=True, eq=False)
class VariableCodes(MlpQuantizer):
  """Encoder, one codebook, stop head and decoder.

  Attributes:
    level_sizes: C, and C + 1 for all levels but the first.
    codebooks: of one codebook (C, K).
    stop_kernel, stop_bias: of the head that says the length, (K, M) and (M,).
  """

  stop_kernel: Any
  stop_bias: Any

  def _costs(self, vectors_ND: Float[Array, "N D"]) -> Float[Array, "N C"]:
    length_N, _, seen_NK = self._parts(vectors_ND)
    costs_NC = squared_distances(seen_NK, self.codebooks[0])
    whole_N1 = (length_N == len(self.level_sizes))[:, None]
    if len(self.level_sizes) == 1:
      return costs_NC
    costs_NC = jnp.where(whole_N1, costs_NC, _NEVER)
    return jnp.append(costs_NC, jnp.where(whole_N1, _NEVER, 0.0), axis=1)

  def _levels(self, vectors_ND):
    """Codes of all levels, and what the last level saw."""
    length_N, codes_NM, seen_NK = self._parts(vectors_ND)
    there_NM = jnp.arange(codes_NM.shape[1])[None, :] < length_N[:, None]
    return jnp.where(there_NM, codes_NM, self.level_sizes[0]), seen_NK

  def _encode(self, vectors_ND: Float[Array, "N D"]) -> Int[Array, "N M"]:
    return self._levels(vectors_ND)[0]

  def _parts(self, vectors_ND):
    """Lengths, codes of all levels whatever the length, and as _levels."""
    x_ND = (vectors_ND - self.mean[None, :]) / self.scale
    left_NK = mlp(x_ND, self.encoder_kernels, self.encoder_biases)
    stop_NM = left_NK @ self.stop_kernel + self.stop_bias[None, :]
    codes, seen_NK = [], left_NK
    for _ in self.level_sizes:
      codes.append(nearest(left_NK, self.codebooks[0]))
      seen_NK, left_NK = left_NK, left_NK - self.codebooks[0][codes[-1]]
    length_N = jnp.argmax(stop_NM, axis=1) + 1
    return length_N, jnp.stack(codes, axis=1), seen_NK

  def _decode(self, codes_NM: Int[Array, "N M"]) -> Float[Array, "N D"]:
    book_CK = jnp.pad(self.codebooks[0], ((0, 1), (0, 0)))
    total_NK = jnp.sum(book_CK[codes_NM], axis=1)
    x_ND = mlp(total_NK, self.decoder_kernels, self.decoder_biases)
    return x_ND * self.scale + self.mean[None, :]


def lengths(
  codes_NM: Int[np.ndarray, "N M"], level_sizes: tuple[int, ...]
) -> Int[np.ndarray, "N"]:
  """Codes of each item before it stopped.

  Args:
    codes_NM: levels that may stop alone, without one that numbers items.
    level_sizes: of these levels.
  """
  stopped_NM = codes_NM == level_sizes[0]
  return np.where(
    stopped_NM.any(axis=1), stopped_NM.argmax(axis=1), codes_NM.shape[1]
  )
