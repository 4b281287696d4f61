# SPDX-License-Identifier: Apache-2.0
"""Residual codes behind an MLP: what is left of a trained RQ-VAE.

    x = (v - mean) / scale;   z = E(x), coded by residuals
    v^ = scale D(z^) + mean,  z^ = sum of the codes' vectors

Plain arrays and pure functions, so that coding an item needs neither the run
nor its optimizer. Made by models/rqvae.py, loaded by
semantic_ids/quantizers/base.py. Shapes: N vectors of width D, M levels, C codes
of width K.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.ops.kmeans import nearest, squared_distances
from genrec_jax.semantic_ids.quantizers.base import Fitted, fitted

ARRAYS = (
  "mean",
  "scale",
  "encoder_kernels",
  "encoder_biases",
  "decoder_kernels",
  "decoder_biases",
  "codebooks",
)


@fitted(*ARRAYS)
@dataclasses.dataclass(frozen=True, eq=False)
class MlpQuantizer(Fitted):
  """Encoder, codebooks and decoder; ReLU between layers.

  Attributes:
    width: D.
    level_sizes: codes of each level.
    mean: (D,), subtracted from vectors.
    scale: a number they are divided by.
    encoder_kernels, encoder_biases: of the layers D to K.
    decoder_kernels, decoder_biases: of the layers K to D.
    codebooks: per level (C, K).
  """

  width: int
  level_sizes: tuple[int, ...]
  mean: Any
  scale: Any
  encoder_kernels: tuple[Any, ...]
  encoder_biases: tuple[Any, ...]
  decoder_kernels: tuple[Any, ...]
  decoder_biases: tuple[Any, ...]
  codebooks: tuple[Any, ...]

  def _encode(self, vectors_ND: Float[Array, "N D"]) -> Int[Array, "N M"]:
    return self._levels(vectors_ND)[0]

  def _costs(self, vectors_ND: Float[Array, "N D"]) -> Float[Array, "N C"]:
    left_NK = self._levels(vectors_ND)[1]
    return squared_distances(left_NK, self.codebooks[-1])

  def _levels(self, vectors_ND):
    """Codes of all levels, and what the last level saw."""
    x_ND = (vectors_ND - self.mean[None, :]) / self.scale
    left_NK = mlp(x_ND, self.encoder_kernels, self.encoder_biases)
    codes, seen_NK = [], left_NK
    for book_CK in self.codebooks:
      codes.append(nearest(left_NK, book_CK))
      seen_NK, left_NK = left_NK, left_NK - book_CK[codes[-1]]
    return jnp.stack(codes, axis=1), seen_NK

  def _decode(self, codes_NM: Int[Array, "N M"]) -> Float[Array, "N D"]:
    total_NK = sum(
      book_CK[codes_NM[:, level]]
      for level, book_CK in enumerate(self.codebooks)
    )
    x_ND = mlp(total_NK, self.decoder_kernels, self.decoder_biases)
    return x_ND * self.scale + self.mean[None, :]


def mlp(
  x: Float[Array, "N D"], kernels: Any, biases: Any
) -> Float[Array, "N K"]:
  """Layers with a ReLU between them."""
  for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
    x = jax.nn.relu(x @ kernel + bias[None, :])
  return x @ kernels[-1] + biases[-1][None, :]
