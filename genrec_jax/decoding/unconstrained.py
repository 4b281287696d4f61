# SPDX-License-Identifier: Apache-2.0
"""Codes without a trie, the best or drawn, and how far they are an item's.

    invalid share at depth m = lists whose first m codes no item has / lists

What a search without a trie wastes: Rajput et al. (arXiv 2305.05065, section
4.5) count invalid lists and filter them. The trie is only looked at afterwards;
every level keeps the K best of all K x C continuations, or draws one for each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from genrec_jax.decoding.candidates import best_candidates, items_of
from genrec_jax.decoding.decoder import Decoder, log_probs
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.sampling import (
  check_draws,
  draw,
  temperatures_of,
)
from genrec_jax.decoding.trie import Trie


class CodeLists(NamedTuple):
  """Lists of codes that a model came up with; of a search, best first.

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


def legal_share(
  decoder: Decoder, trie: Trie, num_beams: int
) -> Float[Array, "B"]:
  """Of the best lists of codes of each request, the share that are an item's.

  Raises:
    ValueError: as unconstrained_search.
  """
  depth_BK = unconstrained_search(decoder, trie, num_beams).depth_BK
  legal_B = jnp.sum(depth_BK == trie.num_levels, axis=1).astype(jnp.float32)
  return legal_B / jnp.maximum(jnp.sum(depth_BK >= 0, axis=1), 1)


def sample_codes(
  decoder: Decoder,
  trie: Trie,
  keys_B: Key[Array, "B"],
  num_samples: int,
  *,
  temperature: float | Sequence[float] = 1.0,
  top_p: float = 1.0,
) -> CodeLists:
  """Lists of codes drawn one by one of all codes, in no order.

  Args:
    decoder: the model, having read the requests.
    trie: of the items, which is looked at afterwards.
    keys_B: a typed key per request; draws do not depend on the batch.
    num_samples: draws per request.
    temperature: T > 0, one for all levels or one for each; scores are those
      of temperature 1.
    top_p: P in (0, 1]; 1 keeps all codes.

  Raises:
    ValueError: a temperature, top_p or num_samples outside its range.
  """
  temperatures = temperatures_of(temperature, trie.num_levels)
  check_draws(num_samples, top_p)
  cache, logits_BC = decoder.start()
  shape = (logits_BC.shape[0], num_samples)
  logp_BKC = log_probs(logits_BC, 0, trie.level_sizes)[:, None]
  logp_BKC = jnp.broadcast_to(logp_BKC, (*shape, logp_BKC.shape[2]))
  scores_BK = jnp.zeros(shape, jnp.float32)
  # Before level 1 a request has one state.
  parents_BK = jnp.zeros(shape, jnp.int32)
  found = []
  for level, level_temperature in enumerate(temperatures):
    if level:
      cache, logits_BKC = decoder.step(cache, level, found[-1], parents_BK)
      logp_BKC = log_probs(logits_BKC, level, trie.level_sizes)
      samples_K = jnp.arange(num_samples, dtype=jnp.int32)
      parents_BK = jnp.broadcast_to(samples_K[None], shape)
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, level)
    codes_BK = jax.vmap(draw, (0, 0, None, None))(
      keys, logp_BKC, level_temperature, top_p
    )
    gained_BK1 = jnp.take_along_axis(logp_BKC, codes_BK[..., None], axis=2)
    scores_BK = scores_BK + gained_BK1[..., 0]
    found.append(codes_BK)
  codes_BKM = jnp.stack(found, axis=2)
  states_BK, depth_BK = walk(trie, codes_BKM)
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
