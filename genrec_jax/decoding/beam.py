# SPDX-License-Identifier: Apache-2.0
"""Beam search over item codes that never leaves the trie, in one program.

    score(prefix, c) = score(prefix) + log p(c | prefix)      float32
    beams            = the K best over all beams and the codes they can take

Log-probabilities are over all codes of a level, not renormalised over those
that lead to an item: a score is the model's own log p(codes), and wide beams
find what scoring the whole catalogue finds. The search of Rajput et al.
(TIGER, arXiv 2305.05065) with a trie in place of its filter afterwards.

`beam_leaves` stops before the items: a search that goes on from the beams asks
the model for more with their cache.

Levels are unrolled: a step's shapes are K_m = min(K, prefixes of m codes) beams
and the trie's width. Memory: (B, K, C) logits at a time, and the model's cache.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.decoding.candidates import best_candidates, candidates, items_of
from genrec_jax.decoding.decoder import Decoder, log_probs
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie


@dataclasses.dataclass(frozen=True)
class Beams:
  """Complete prefixes, best first, and where the model stands before them.

  Those of score -inf lead to no item.

  Attributes:
    leaves_BK: states of the trie's last depth.
    scores_BK: log p(codes).
    codes_BKM: all codes.
    cache: of the last step; codes_BKM[..., -1] and parents_BK are what a step
      takes that reads the last codes as well.
    parents_BK: the beams of the last step that these continue.
  """

  leaves_BK: Int[Array, "B K"]
  scores_BK: Float[Array, "B K"]
  codes_BKM: Int[Array, "B K M"]
  cache: Any
  parents_BK: Int[Array, "B K"]


def beam_search(
  decoder: Decoder,
  trie: Trie,
  num_beams: int,
  allowed: ItemBits | None = None,
) -> tuple[
  Int[Array, "B {num_beams}"],
  Float[Array, "B {num_beams}"],
  Int[Array, "B {num_beams} {trie.num_levels}"],
]:
  """Returns ids, scores and codes of the best items found, best first.

  Order: score descending, then lower id; items that share all codes share the
  score. Of prefixes that tie for the last place of a beam the one of the
  better beam stays, then the lower code. Places without an item: id 0, score
  -inf, codes 0.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    num_beams: K, of prefixes kept and items returned; may exceed what there
      is. With K at least the number of leaves the search is exact.
    allowed: items that each request may get; None = all.

  Raises:
    ValueError: no beams, or a decoder of other level sizes than the trie.
  """
  beams = beam_leaves(decoder, trie, num_beams, allowed)
  return items_of(
    trie,
    beams.leaves_BK,
    beams.scores_BK,
    beams.codes_BKM,
    num_beams,
    allowed,
  )


def beam_leaves(
  decoder: Decoder,
  trie: Trie,
  num_beams: int,
  allowed: ItemBits | None = None,
) -> Beams:
  """The best leaves, at most num_beams and at most those of the trie.

  Arguments and errors as in beam_search; only leaves with an allowed item.
  """
  if num_beams < 1:
    raise ValueError(f"num_beams is {num_beams}; a search keeps at least 1")
  sizes = trie.level_sizes
  cache, logits_BC = decoder.start()
  logp_BKC = log_probs(logits_BC, 0, sizes)[:, None]
  batch = logits_BC.shape[0]
  states_BK = jnp.zeros((batch, 1), jnp.int32)
  scores_BK = jnp.zeros((batch, 1), jnp.float32)
  codes_BKM = jnp.zeros((batch, 1, 0), jnp.int32)
  parents_BK = states_BK
  for level in range(trie.num_levels):
    if level:
      cache, logits_BKC = decoder.step(
        cache, level, codes_BKM[:, :, -1], parents_BK
      )
      logp_BKC = log_probs(logits_BKC, level, sizes)
    logp_BKJ = candidates(trie, level, states_BK, logp_BKC, allowed)
    parents_BK, columns_BK, scores_BK = best_candidates(
      scores_BK, logp_BKJ, min(num_beams, trie.num_states(level + 1))
    )
    states_BK = jnp.take_along_axis(states_BK, parents_BK, axis=1)
    states_BK = trie.child(level, states_BK, columns_BK)
    codes_BKM = jnp.take_along_axis(codes_BKM, parents_BK[..., None], axis=1)
    new_BK = trie.code[level][states_BK]
    codes_BKM = jnp.concatenate([codes_BKM, new_BK[..., None]], axis=2)
  return Beams(states_BK, scores_BK, codes_BKM, cache, parents_BK)
