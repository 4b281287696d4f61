# SPDX-License-Identifier: Apache-2.0
"""RQ-VAE: an autoencoder of item vectors through residual codes.

    x = (v - mean) / scale;   z = E(x);   z^ = sum of the codes' vectors of z
    x^ = D(z + sg[z^ - z])                E, D: ReLU MLPs, mirrored
    (Lee et al., CVPR 2022; for recommendation TIGER, arXiv 2305.05065)

Trained by objectives/reconstruction.py on data/layouts/catalog.py. Mean and
scale (one number, so that the vectors' geometry stays) and the first codebooks
come from the catalogue: `data_init` clusters the residuals of the fresh
encoder, level after level, on a large seeded sample instead of the first batch.
`tokenizer` gives the plain arrays that code items
(semantic_ids/quantizers/mlp_quantizer.py).
"""

from collections.abc import Mapping
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
import numpy as np

from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import Batch, Outputs
from genrec_jax.semantic_ids.quantizers.mlp_quantizer import MlpQuantizer
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans


class RQVAE(nn.Module):
  """Encodes, quantises and decodes the vectors of items.

  Attributes:
    num_items: V.
    vector_width: of the item vectors.
    widths: of the encoder's hidden layers; the decoder's in reverse.
    quantizer: layers/quantizer.py; its width is that of z.
    kmeans_init: codebooks start as clusters; False: as random vectors.
    kmeans_sample: items they are clustered on, at most.
  """

  num_items: int
  vector_width: int
  widths: tuple[int, ...]
  quantizer: nn.Module
  kmeans_init: bool = True
  kmeans_sample: int = 8192

  item_tables = ()
  uses_time = False
  # Items of a row do not see each other: any number fits.
  max_length = NO_LIMIT

  def setup(self):
    code_width = self.quantizer.width
    self.encoder = [nn.Dense(w) for w in (*self.widths, code_width)]
    out = (*reversed(self.widths), self.vector_width)
    self.decoder = [nn.Dense(w) for w in out]
    shape = (self.vector_width,)
    self.mean = self.param("mean", nn.initializers.zeros, shape)
    self.scale = self.param("scale", nn.initializers.ones, ())

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Nothing is split: the parameters are few."""
    return {"kernel": (None, None), "embedding": (None, None)}

  @property
  def level_sizes(self) -> tuple[int, ...]:
    """Codes of each level."""
    return tuple(self.quantizer.level_sizes)

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Codes and reconstructs the items of a batch.

    Returns:
      hidden: z; query: its codes' sum; item: that of the partner, or None;
      aux: "input_BLD" (standardised), "reconstruction_BLD", "codebook_BL",
      "commitment_BL", "codes_BLM", "code_sum_BLK" (with a gradient to codes and
      none to z), "diversity_BL" where the quantiser has such a loss, and with
      partners "partner_hidden_BLD".
    """
    vectors_BLD = batch["vector_BLD"]
    shape = vectors_BLD.shape[:2]
    where_T = batch["segment_ids_BL"].reshape(-1) > 0
    x_TD = self._standardise(vectors_BLD.reshape(-1, self.vector_width))
    z_TD = self.encode(x_TD)
    found = self.quantizer(z_TD, where_T, train=not deterministic)
    through_TD = z_TD + jax.lax.stop_gradient(found.vectors - z_TD)

    def rows(x):
      return x.reshape(*shape, *x.shape[1:])

    aux = {
      "input_BLD": rows(x_TD),
      "reconstruction_BLD": rows(mlp(self.decoder, through_TD)),
      "codebook_BL": rows(found.codebook),
      "commitment_BL": rows(found.commitment),
      "codes_BLM": rows(found.codes),
      "code_sum_BLK": rows(found.vectors),
    }
    if found.diversity is not None:
      aux["diversity_BL"] = rows(found.diversity)
    item = None
    if "partner_vector_BLD" in batch:
      partner_TD = batch["partner_vector_BLD"].reshape(-1, self.vector_width)
      partner_TD = self.encode(self._standardise(partner_TD))
      coded = self.quantizer(partner_TD, where_T, train=False)
      aux["partner_hidden_BLD"] = rows(partner_TD)
      item = rows(
        partner_TD + jax.lax.stop_gradient(coded.vectors - partner_TD)
      )
    return Outputs(
      hidden=rows(z_TD),
      query=rows(through_TD),
      item=item,
      aux=aux,
      assign={("quantizer", *p): pair for p, pair in found.assign.items()},
    )

  def encode(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T K"]:
    """z of standardised vectors."""
    return mlp(self.encoder, x_TD)

  def _standardise(self, vectors_TD):
    mean_D, scale = jax.lax.stop_gradient((self.mean, self.scale))
    return (vectors_TD - mean_D[None, :]) / scale

  def data_init(
    self,
    params: Mapping[str, Any],
    vectors_ND: Float[np.ndarray, "N D"],
    key: Key[Array, ""],
  ) -> dict[str, Any]:
    """Fresh parameters with mean, scale and codebooks of the vectors.

    Raises:
      ValueError: a level of more codes than there are vectors.
    """
    params = self._scaled(params, vectors_ND)
    if not self.kmeans_init:
      return params
    z_ND, seed = self._sample(params, vectors_ND, key)
    fitted = ResidualKMeans(self.level_sizes).fit(z_ND, seed=seed)
    codes_NM = fitted.encode(z_ND)
    levels = dict(params["quantizer"])
    for number, book_CD in enumerate(fitted.codebooks):
      size = len(book_CD)
      usage_C = np.bincount(codes_NM[:, number], minlength=size) / len(z_ND)
      usage_C = usage_C.astype(np.float32)
      levels[f"level_{number}"] = {
        "embedding": jnp.asarray(book_CD),
        "usage": jnp.asarray(usage_C),
        "sums": jnp.asarray(book_CD * usage_C[:, None]),
      }
    return {**params, "quantizer": levels}

  def _scaled(self, params, vectors_ND):
    """Parameters with the vectors' mean and scale."""
    mean_D = vectors_ND.mean(axis=0, dtype=np.float64)
    variance = np.square(vectors_ND - mean_D[None, :]).mean(dtype=np.float64)
    scale = np.sqrt(max(variance, 1e-12))
    return {
      **params,
      "mean": jnp.asarray(mean_D, jnp.float32),
      "scale": jnp.asarray(scale, jnp.float32),
    }

  def _sample(self, params, vectors_ND, key):
    """z of a sample of the vectors, and a seed."""
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    count = min(self.kmeans_sample, len(vectors_ND))
    rows = np.random.default_rng(seed).permutation(len(vectors_ND))[:count]
    mean_D, scale = np.asarray(params["mean"]), np.asarray(params["scale"])
    x_ND = (vectors_ND[np.sort(rows)] - mean_D[None]) / scale
    x_ND = jnp.asarray(x_ND, jnp.float32)
    encode = jax.jit(functools.partial(self.apply, method="encode"))
    return np.asarray(encode({"params": params}, x_ND)), seed

  def tokenizer(self, params: Mapping[str, Any]) -> MlpQuantizer:
    """The trained tokenizer as plain arrays, from parameters on the host."""
    params = jax.tree.map(np.asarray, dict(params))
    return MlpQuantizer(
      **self._arrays(params),
      codebooks=tuple(
        params["quantizer"][f"level_{i}"]["embedding"]
        for i in range(len(self.level_sizes))
      ),
    )

  def _arrays(self, params):
    """Fields of a tokenizer but for its codes."""

    def layers(name, part):
      count = len(self.widths) + 1
      return tuple(params[f"{name}_{i}"][part] for i in range(count))

    return {
      "width": self.vector_width,
      "level_sizes": self.level_sizes,
      "mean": params["mean"],
      "scale": params["scale"],
      "encoder_kernels": layers("encoder", "kernel"),
      "encoder_biases": layers("encoder", "bias"),
      "decoder_kernels": layers("decoder", "kernel"),
      "decoder_biases": layers("decoder", "bias"),
    }


def mlp(layers: Any, x: Float[Array, "... D"]) -> Float[Array, "... K"]:
  """Layers with a ReLU between them."""
  for layer in layers[:-1]:
    x = nn.relu(layer(x))
  return layers[-1](x)
