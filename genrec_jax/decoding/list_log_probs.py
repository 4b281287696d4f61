# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of given lists of items by the steps of a model.

    log p(c_jm | history, items before, c_j0 .. c_j,m-1)    one number per code

As decoding/code_log_probs.py, of a model that writes lists: the history is read
once for all K lists of a request, gradients flow, and there is no dropout. Sums
over codes are the scores of decoding/lists.py. Places behind the end of a list
have numbers that mean nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.decoding.decoder import log_probs
from genrec_jax.decoding.lists import ListDecoder


def list_log_probs(
  decoder: ListDecoder,
  codes_GKT: Int[Array, "G K T"],
  level_sizes: tuple[int, ...],
) -> Float[Array, "G K T"]:
  """Log-probabilities of K lists of every request, code by code.

  Args:
    decoder: the model, having read the requests.
    codes_GKT: of the lists, T / M items one behind the other.
    level_sizes: codes of each of M levels.

  Raises:
    ValueError: codes that are no whole number of items.
  """
  requests, lists, tokens = codes_GKT.shape
  levels = len(level_sizes)
  if not tokens or tokens % levels:
    raise ValueError(
      f"lists have {tokens} codes, and an item has {levels}: give the codes of"
      " whole items."
    )
  size = tokens // levels
  codes_JGKM = jnp.moveaxis(
    codes_GKT.reshape(requests, lists, size, levels), 2, 0
  )
  cache, none_GK = decoder.begin_lists(lists, size)
  lists_K = jnp.arange(lists, dtype=jnp.int32)
  own_GK = jnp.broadcast_to(lists_K[None], none_GK.shape)

  def item(carry, place):
    cache, last_GK = carry
    j, codes_GKM = place
    parents_GK = jnp.where(j > 0, own_GK, none_GK)
    cache, logits_GKC = decoder.next_item(cache, last_GK, parents_GK, j > 0)
    found = []
    for level in range(levels):
      if level:
        cache, logits_GKC = decoder.step(
          cache, level, codes_GKM[:, :, level - 1], own_GK
        )
      logp_GKC = log_probs(logits_GKC, level, level_sizes)
      code_GK1 = codes_GKM[:, :, level, None]
      found.append(jnp.take_along_axis(logp_GKC, code_GK1, axis=2)[..., 0])
    return (cache, codes_GKM[:, :, -1]), jnp.stack(found, axis=2)

  _, found_JGKM = jax.lax.scan(
    item, (cache, none_GK), (jnp.arange(size), codes_JGKM)
  )
  return jnp.moveaxis(found_JGKM, 0, 2).reshape(requests, lists, tokens)
