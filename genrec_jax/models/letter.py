# SPDX-License-Identifier: Apache-2.0
"""LETTER: an RQ-VAE whose codes follow behaviour and are used alike.

    L = L_rqvae + alpha L_align + beta L_diversity
    L_align = in-batch cross-entropy of <z^_i, h_j>, i its own (objectives/
              code_alignment.py);  h: vectors of a trained model of users

Wang et al., CIKM 2024, arXiv 2405.07314. z^ is the sum of the codes' vectors.
In the authors' code it stands behind the straight-through step, so the gradient
of L_align reaches the encoder alone ("encoder"); taken before that step it
reaches the codes alone ("codes", how the paper may be read). Diversity is the
quantiser's (layers/diverse_quantizer.py). h comes in the batch (data/layouts/
catalog.py) and is brought to the codes' width by its principal axes, centred,
with a variance of 1 a coordinate on average: the published h is that wide.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
import numpy as np

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.data.layouts.catalog import CatalogData
from genrec_jax.models.rqvae import RQVAE


class Letter(RQVAE):
  """See the module docstring.

  Attributes:
    collaborative_width: of h.
    cf_grad: "encoder" or "codes": what the alignment moves.
  """

  collaborative_width: int = 64
  cf_grad: str = "encoder"

  constants = ("collaborative_mean", "projection")

  def __post_init__(self):
    super().__post_init__()
    if self.cf_grad not in ("encoder", "codes"):
      raise ValueError(
        f"config.system.cf_grad={self.cf_grad!r} must be 'encoder' or 'codes'."
      )

  def setup(self):
    super().setup()
    width, zeros = self.collaborative_width, nn.initializers.zeros
    self.collaborative_mean = self.param("collaborative_mean", zeros, (width,))
    shape = (width, self.quantizer.width)
    self.projection = self.param("projection", zeros, shape)

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """As RQVAE; aux has also "aligned_BLK" (z^) and "collaborative_BLK" (h)."""
    outputs = super().__call__(batch, deterministic=deterministic)
    aligned_BLK = outputs.query
    if self.cf_grad == "codes":
      aligned_BLK = outputs.aux["code_sum_BLK"]
    other_BLE = batch["collaborative_BLE"]
    other_BLE = other_BLE - self.collaborative_mean[None, None, :]
    more = {
      "aligned_BLK": aligned_BLK,
      "collaborative_BLK": other_BLE @ self.projection,
    }
    return dataclasses.replace(outputs, aux={**outputs.aux, **more})

  def data_init(
    self, params: Mapping[str, Any], data: CatalogData, key: Key[Array, ""]
  ) -> dict[str, Any]:
    """Fresh parameters of an RQ-VAE, and the axes of the known items' h.

    Raises:
      ValueError: h of another width, or narrower than the codes.
    """
    params = super().data_init(params, data.vectors, key)
    known_NE = data.collaborative[data.known]
    mean_E, axes_EK = principal_axes(known_NE, self.quantizer.width)
    return {
      **params,
      "collaborative_mean": jnp.asarray(mean_E, jnp.float32),
      "projection": jnp.asarray(axes_EK, jnp.float32),
    }


def principal_axes(
  vectors_NE: Float[np.ndarray, "N E"], width: int
) -> tuple[Float[np.ndarray, "E"], Float[np.ndarray, "E K"]]:
  """Mean, and axes on which vectors have a variance of 1 on average.

  Raises:
    ValueError: more axes than the vectors have.
  """
  if vectors_NE.shape[1] < width:
    raise ValueError(
      f"codes are {width} wide and collaborative vectors"
      f" {vectors_NE.shape[1]}: lower config.system.quantizer.width."
    )
  mean_E = vectors_NE.mean(axis=0, dtype=np.float64)
  centred_NE = vectors_NE - mean_E[None, :]
  variance_E, axes_EE = np.linalg.eigh(
    centred_NE.T @ centred_NE / len(centred_NE)
  )
  variance_K, axes_EK = variance_E[::-1][:width], axes_EE[:, ::-1][:, :width]
  return mean_E, axes_EK / np.sqrt(max(variance_K.mean(), 1e-12))
