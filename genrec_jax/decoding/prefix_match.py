# SPDX-License-Identifier: Apache-2.0
"""Items that nothing was trained on, found by the prefix of their codes.

A generator gives almost no probability to a tuple of codes that it never saw,
though it knows the prefix, which tells what an item is like. So unseen items
are ranked by the log-probability of their first `depth` codes alone, and get at
most a share of the places (Rajput et al., arXiv 2305.05065, section 4.3):

    n-th unseen item    at the first rank r with floor(share r) = n
    other ranks         the seen items of a beam search, in its order

The share is what unseen items may take from seen ones. Where seen items run
out, the unseen ones that are left follow, so a place stays empty only where
nothing is left. The two scores cannot be compared, so a result's score is minus
its rank.
"""

import dataclasses
import fractions
import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie


@dataclasses.dataclass(frozen=True)
class _Started:
  """A decoder whose requests are read once for two searches."""

  decoder: Decoder
  first: Any
  depth: int

  def start(self):
    return self.first

  def step(self, cache, level, codes_BK, parents_BK):
    if level < self.depth:
      return self.decoder.step(cache, level, codes_BK, parents_BK)
    # All codes are alike here: what counts has been counted.
    cache, logits_BKC = self.decoder.step(cache, level, codes_BK, parents_BK)
    return cache, jnp.zeros_like(logits_BKC)


def quotas(share: float, num_beams: int) -> Int[np.ndarray, "K"]:
  """How many of the first 1..K places a share is, rounded down.

  By the decimal number that was written: a tenth of ten places is one, though
  .1 is a little less in binary.
  """
  exact = fractions.Fraction(str(share))
  counts = [math.floor(exact * rank) for rank in range(1, num_beams + 1)]
  return np.array(counts, np.int32)


def prefix_match(
  decoder: Decoder,
  trie: Trie,
  num_beams: int,
  seen: ItemBits,
  unseen: ItemBits,
  *,
  depth: int,
  share: float,
) -> tuple[Int[Array, "B K"], Float[Array, "B K"], Int[Array, "B K M"]]:
  """Returns ids, scores (minus the rank) and codes, best first.

  Args:
    decoder: the model, having read the requests.
    trie: of all items.
    num_beams: K, of each search, and items returned.
    seen: items that each request may get and that were trained on.
    unseen: items that it may get and that were not.
    depth: codes by which unseen items are ranked.
    share: of any number of first places that unseen items get at most, as
      long as there are seen ones.

  Raises:
    ValueError: a depth or a share outside its range.
  """
  if not 0 < depth <= trie.num_levels or not 0 <= share <= 1:
    raise ValueError(
      f"depth={depth} must lie in 1..{trie.num_levels} and share={share} in"
      " [0, 1]"
    )
  first = decoder.start()
  whole = _Started(decoder, first, trie.num_levels)
  known = beam_search(whole, trie, num_beams, seen)
  by_prefix = _Started(decoder, first, depth)
  new = beam_search(by_prefix, trie, num_beams, unseen)
  num_known_B1, num_new_B1 = (
    jnp.sum(found[0] > 0, axis=1, keepdims=True, dtype=jnp.int32)
    for found in (known, new)
  )
  rank_K = jnp.arange(1, num_beams + 1, dtype=jnp.int32)
  quota_K = jnp.asarray(quotas(share, num_beams))
  # Unseen items up to a rank: their quota, or all that seen ones leave free.
  used_BK = jnp.maximum(quota_K[None], rank_K[None] - num_known_B1)
  used_BK = jnp.minimum(used_BK, num_new_B1)
  takes_BK = jnp.diff(used_BK, axis=1, prepend=0) > 0
  known_BK = jnp.clip(rank_K[None] - used_BK - 1, 0, num_beams - 1)
  new_BK = jnp.clip(used_BK - 1, 0, num_beams - 1)

  def pick(which):
    a = jnp.take_along_axis(known[which], known_BK, axis=1)
    b = jnp.take_along_axis(new[which], new_BK, axis=1)
    return jnp.where(takes_BK, b, a)

  ids_BK = pick(0)
  codes_BKM = jnp.where(
    takes_BK[..., None],
    jnp.take_along_axis(new[2], new_BK[..., None], axis=1),
    jnp.take_along_axis(known[2], known_BK[..., None], axis=1),
  )
  scores_BK = jnp.where(ids_BK > 0, -rank_K[None].astype(jnp.float32), -jnp.inf)
  return ids_BK, scores_BK, codes_BKM
