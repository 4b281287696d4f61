# SPDX-License-Identifier: Apache-2.0
"""What an autoencoder with codes is trained for.

    L = |x - x^|^2 + codebook_weight * codebook + commitment_weight * commitment
        + contrastive.weight * contrastive                  means over the width

The two middle terms come from the quantiser (layers/quantizer.py; van den Oord
et al., arXiv 1711.00937, beta = .25); the last compares items with partners
that occur beside them in histories (objectives/contrastive.py).
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.objectives.contrastive import InBatchContrastive


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """Reconstruction and the quantiser's own losses.

  Attributes:
    codebook_weight: pulls codes to what they code; nothing with averages.
    commitment_weight: pulls what is coded to its codes (beta).
    contrastive: needs a batch with partners; None = no such term.
  """

  codebook_weight: float = 1.0
  commitment_weight: float = 0.25
  contrastive: InBatchContrastive | None = None

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Any]]:
    """Mean loss over real items (where `where` holds, weighted).

    Raises:
      ValueError: a contrastive term, and a batch without partners.
    """
    del rng, items
    real_BL = batch["segment_ids_BL"] > 0
    real_BL = real_BL if where is None else real_BL & where
    aux = outputs.aux

    def mean(values_BL):
      return Mean.of(values_BL, where=real_BL, weights=weights)

    gap_BLD = aux["input_BLD"] - aux["reconstruction_BLD"]
    parts = {
      "reconstruction": mean(jnp.mean(jnp.square(gap_BLD), axis=-1)),
      "codebook": mean(aux["codebook_BL"]),
      "commitment": mean(aux["commitment_BL"]),
    }
    factors = {
      "reconstruction": 1.0,
      "codebook": self.codebook_weight,
      "commitment": self.commitment_weight,
    }
    if self.contrastive is not None:
      parts["contrastive"] = self._contrast(outputs, batch, real_BL)
      factors["contrastive"] = self.contrastive.weight
    return sum(factors[n] * parts[n].compute() for n in parts), parts

  def _contrast(self, outputs, batch, real_BL) -> Mean:
    if outputs.item is None:
      raise ValueError(
        "the contrastive term compares items with partners, and the batch has"
        " none: set config.pipeline.layout.partners=True."
      )
    anchor_BLD, partner_BLD = outputs.query, outputs.item
    if not self.contrastive.quantized:
      anchor_BLD = outputs.hidden
      partner_BLD = outputs.aux["partner_hidden_BLD"]
    width = anchor_BLD.shape[-1]
    return self.contrastive(
      anchor_BLD.reshape(-1, width),
      partner_BLD.reshape(-1, width),
      batch["item_BL"].reshape(-1),
      batch["partner_BL"].reshape(-1),
      real_BL.reshape(-1),
    )
