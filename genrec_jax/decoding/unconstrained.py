# SPDX-License-Identifier: Apache-2.0
"""Beam search over all codes, and how far each list of codes is an item's.

    invalid share at depth m = lists whose first m codes no item has / lists

What a search without a trie wastes: Rajput et al. (arXiv 2305.05065, section
4.5) count invalid lists and filter them. The trie is only looked at afterwards;
every level keeps the K best of all K x C continuations.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.decoding.candidates import best_candidates, items_of
from genrec_jax.decoding.decoder import Decoder, log_probs
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie


class CodeLists(NamedTuple):
  """Lists of codes that a model came up with, best first.

  Attributes:
    codes_BKM: the lists; 0 in places without one.
    scores_BK: log p(codes); -inf in places without one.
    depth_BK: codes until the list leaves the trie: M = it is an item's; -1 in
      places without a list.
    leaves_BK: the trie's leaf where depth is M.
  """

  codes_BKM: Int[Array, "B K M"]
  scores_BK: Float[Array, "B K"]
  depth_BK: Int[Array, "B K"]
  leaves_BK: Int[Array, "B K"]

  def invalid(self) -> tuple[Int[Array, "M"], Int[Array, ""]]:
    """Lists that are invalid at depth 1 to M, and all lists; both add up."""
    levels = self.codes_BKM.shape[2]
    depth_M = jnp.arange(1, levels + 1, dtype=jnp.int32)
    listed_BK = self.depth_BK >= 0
    short_BKM = self.depth_BK[..., None] < depth_M[None, None, :]
    return (
      jnp.sum(short_BKM & listed_BK[..., None], axis=(0, 1), dtype=jnp.int32),
      jnp.sum(listed_BK, dtype=jnp.int32),
    )

  def items(
    self, trie: Trie, k: int, allowed: ItemBits | None = None
  ) -> tuple[Int[Array, "B k"], Float[Array, "B k"], Int[Array, "B k M"]]:
    """Ids, scores and codes of the first k allowed items of valid lists."""
    scores_BK = jnp.where(
      self.depth_BK == trie.num_levels, self.scores_BK, -jnp.inf
    )
    return items_of(trie, self.leaves_BK, scores_BK, self.codes_BKM, k, allowed)


def unconstrained_search(
  decoder: Decoder, trie: Trie, num_beams: int
) -> CodeLists:
  """Returns the best lists of codes, whether or not an item has them.

  Raises:
    ValueError: no beams, or a decoder of other level sizes than the trie.
  """
  if num_beams < 1:
    raise ValueError(f"num_beams is {num_beams}; a search keeps at least 1")
  cache, logits_BC = decoder.start()
  logp_BKC = log_probs(logits_BC, 0, trie.level_sizes)[:, None]
  batch = logits_BC.shape[0]
  scores_BK = jnp.zeros((batch, 1), jnp.float32)
  codes_BKM = jnp.zeros((batch, 1, 0), jnp.int32)
  parents_BK = jnp.zeros((batch, 1), jnp.int32)
  for level, size in enumerate(trie.level_sizes):
    if level:
      cache, logits_BKC = decoder.step(
        cache, level, codes_BKM[:, :, -1], parents_BK
      )
      logp_BKC = log_probs(logits_BKC, level, trie.level_sizes)
    width = min(num_beams, scores_BK.shape[1] * size)
    parents_BK, new_BK, scores_BK = best_candidates(scores_BK, logp_BKC, width)
    codes_BKM = jnp.take_along_axis(codes_BKM, parents_BK[..., None], axis=1)
    codes_BKM = jnp.concatenate([codes_BKM, new_BK[..., None]], axis=2)
  missing = num_beams - scores_BK.shape[1]
  codes_BKM = jnp.pad(codes_BKM, ((0, 0), (0, missing), (0, 0)))
  scores_BK = jnp.pad(
    scores_BK, ((0, 0), (0, missing)), constant_values=-jnp.inf
  )
  codes_BKM = jnp.where((scores_BK > -jnp.inf)[..., None], codes_BKM, 0)
  states_BK, depth_BK = walk(trie, codes_BKM)
  depth_BK = jnp.where(scores_BK > -jnp.inf, depth_BK, -1)
  return CodeLists(codes_BKM, scores_BK, depth_BK, states_BK)


def walk(
  trie: Trie, codes_BKM: Int[Array, "B K M"]
) -> tuple[Int[Array, "B K"], Int[Array, "B K"]]:
  """Returns where lists of codes end in the trie, and after how many codes.

  The state is a leaf where all M codes were followed; else without meaning.
  """
  states_BK = jnp.zeros(codes_BKM.shape[:2], jnp.int32)
  depth_BK = jnp.zeros(codes_BKM.shape[:2], jnp.int32)
  for level in range(trie.num_levels):
    states_BK, found_BK = trie.follow(level, states_BK, codes_BKM[:, :, level])
    depth_BK = depth_BK + (found_BK & (depth_BK == level))
  return states_BK, depth_BK
