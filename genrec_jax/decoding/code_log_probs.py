# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of given codes by the steps of a decoder.

    log p(c_m | history, c_0 .. c_{m-1})        one number per code, float32

The history is read once for all K samples of a request, and gradients flow: the
probabilities are those that searches and samplers see, without dropout. Sums
over codes are the scores of decoding/beam.py and decoding/sampling.py.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.decoding.decoder import Decoder, log_probs


def code_log_probs(
  decoder: Decoder,
  codes_GKT: Int[Array, "G K T"],
  level_sizes: tuple[int, ...],
) -> Float[Array, "G K T"]:
  """Log-probabilities of K samples of every request, code by code.

  Args:
    decoder: the model, having read the requests.
    codes_GKT: of the samples, one code per level.
    level_sizes: codes of each level.

  Raises:
    ValueError: codes of another number of levels, or a decoder of other level
      sizes.
  """
  if codes_GKT.shape[2] != len(level_sizes):
    raise ValueError(
      f"samples have {codes_GKT.shape[2]} codes, and there are"
      f" {len(level_sizes)} levels."
    )
  shape_GK = codes_GKT.shape[:2]
  cache, logits_GC = decoder.start()
  logp_GKC = log_probs(logits_GC, 0, level_sizes)[:, None]
  found = []
  # Before level 1 a request has one state.
  parents_GK = jnp.zeros(shape_GK, jnp.int32)
  for level in range(len(level_sizes)):
    if level:
      cache, logits_GKC = decoder.step(
        cache, level, codes_GKT[:, :, level - 1], parents_GK
      )
      logp_GKC = log_probs(logits_GKC, level, level_sizes)
      samples_K = jnp.arange(shape_GK[1], dtype=jnp.int32)
      parents_GK = jnp.broadcast_to(samples_K[None], shape_GK)
    of_samples = jnp.broadcast_to(logp_GKC, (*shape_GK, logp_GKC.shape[2]))
    code_GK1 = codes_GKT[:, :, level, None]
    found.append(jnp.take_along_axis(of_samples, code_GK1, axis=2)[..., 0])
  return jnp.stack(found, axis=2)
