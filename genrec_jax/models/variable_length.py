# SPDX-License-Identifier: Apache-2.0
"""An autoencoder of item vectors through as many codes as an item needs.

    x = (v - mean) / scale;   z = E(x)
    x^_l = D(sum of the first l codes' vectors),  P(length = l | z)

z is quantised softly (layers/soft_quantizer.py), as by the dVAE of arXiv
2602.16375, and trained by objectives/variable_length.py. Hard codes: the
nearest of every step, and "stopped" after the likeliest length
(semantic_ids/quantizers/variable_codes.py).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
import numpy as np

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.models.rqvae import RQVAE, mlp
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from genrec_jax.semantic_ids.quantizers.variable_codes import VariableCodes

# Sharpness of the codes at the start, in units of what the nearest leaves.
_SHARPNESS = 4.0


class VariableLength(RQVAE):
  """See the module docstring; attributes of RQVAE, of which the quantiser is
  layers.SoftQuantizer."""

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Quantises and reconstructs the items of a batch.

    Returns:
      hidden: z; aux: "error_BLS", mean squares left after 1 .. S codes,
      "length_BLS" their probabilities, "information_BLS" the KL divergence of
      each step's codes from equal ones, and "age", steps of training so far.
    """
    vectors_BLD = batch["vector_BLD"]
    shape = vectors_BLD.shape[:2]
    x_TD = self._standardise(vectors_BLD.reshape(-1, self.vector_width))
    z_TD = self.encode(x_TD)
    found = self.quantizer(z_TD, train=not deterministic)
    back_TSD = mlp(self.decoder, found.sums)
    error_TS = jnp.mean(jnp.square(back_TSD - x_TD[:, None]), axis=2)
    information_TS = jnp.sum(jnp.exp(found.log_p) * found.log_p, axis=2)
    information_TS = information_TS + np.log(self.level_sizes[0])

    def rows(x):
      return x.reshape(*shape, *x.shape[1:])

    return Outputs(
      hidden=rows(z_TD),
      aux={
        "error_BLS": rows(error_TS),
        "length_BLS": rows(found.lengths),
        "information_BLS": rows(information_TS),
        "age": found.age,
      },
      assign={("quantizer", *p): pair for p, pair in found.assign.items()},
    )

  def data_init(
    self,
    params: Mapping[str, Any],
    vectors_ND: Float[np.ndarray, "N D"],
    key: Key[Array, ""],
  ) -> dict[str, Any]:
    """Fresh parameters with mean, scale and codes of the vectors.

    The shared codes start as clusters of what 0, 1, .. S - 1 codes leave.

    Raises:
      ValueError: fewer vectors than a step's share of the codes.
    """
    params = self._scaled(params, vectors_ND)
    if not self.kmeans_init:
      return params
    z_ND, seed = self._sample(params, vectors_ND, key)
    steps, codes = len(self.level_sizes), self.level_sizes[0]
    shares = tuple((codes + n) // steps for n in range(steps))[::-1]
    books = ResidualKMeans(shares).fit(z_ND, seed=seed).codebooks
    first = np.square(z_ND[:, None] - books[0][None]).sum(axis=2).min(axis=1)
    sharpness = _SHARPNESS / max(float(first.mean()), 1e-12)
    quantizer = {
      **params["quantizer"],
      "embedding": jnp.asarray(np.concatenate(books)),
      "log_sharpness": jnp.float32(np.log(sharpness)),
    }
    return {**params, "quantizer": quantizer}

  def tokenizer(self, params: Mapping[str, Any]) -> VariableCodes:
    """The trained tokenizer as plain arrays, from parameters on the host."""
    params = jax.tree.map(np.asarray, dict(params))
    quantizer = params["quantizer"]
    return VariableCodes(
      **self._arrays(params),
      codebooks=(quantizer["embedding"],),
      stop_kernel=quantizer["stop"]["kernel"],
      stop_bias=quantizer["stop"]["bias"],
    )
