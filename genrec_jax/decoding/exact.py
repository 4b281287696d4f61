# SPDX-License-Identifier: Apache-2.0
"""Scores of the whole catalogue: every prefix of the trie is read once.

    score(v) = sum_m log p(code_m(v) | codes before)    for all items v

The ground truth of beams. Items share prefixes, so a request costs as many
positions of the model as there are states of depth 1 to M - 1 (for 12,101 items
of 4 x 256 about 20 thousand, where one by one it would be 48), in chunks: the
states of a depth are visited in order, and the children of a chunk, which are
neighbours too, in chunks of their own before the next chunk. That is M nested
loops whose lengths the trie gives.

Memory: caches and logits (B, chunk, C) of each depth, and (B, leaves) scores.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.decoding.decoder import Decoder, log_probs
from genrec_jax.decoding.item_bits import ItemBits, unpack
from genrec_jax.decoding.trie import Trie
from genrec_jax.ops.top_k import top_k


def exact_scores(
  decoder: Decoder, trie: Trie, chunk: int = 1024
) -> Float[Array, "B V1"]:
  """Returns log p(codes) of every item by id; -inf where it has no place.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    chunk: states that the model steps at once.

  Raises:
    ValueError: a chunk without states, or a decoder of other level sizes.
  """
  if chunk < 1:
    raise ValueError(f"chunk is {chunk}; the model steps at least 1 state")
  cache, logits_BC = decoder.start()
  batch, leaves = logits_BC.shape[0], trie.num_states(trie.num_levels)
  root = _Beams(
    cache=cache,
    logp_BKC=log_probs(logits_BC, 0, trie.level_sizes)[:, None],
    scores_BK=jnp.zeros((batch, 1), jnp.float32),
    first=jnp.int32(0),
    count=jnp.int32(1),
  )
  # The last chunk may reach beyond the last leaf.
  shape = (batch, leaves + min(chunk, leaves))
  scores_BS = jnp.full(shape, -jnp.inf, jnp.float32)
  scores_BS = _descend(decoder, trie, chunk, 0, root, scores_BS)
  ids_V1 = jnp.arange(trie.place_V1.shape[0])
  scores_BV1 = scores_BS[:, trie.leaves(ids_V1)]
  return jnp.where((trie.place_V1 >= 0)[None, :], scores_BV1, -jnp.inf)


def exact_search(
  decoder: Decoder,
  trie: Trie,
  k: int,
  allowed: ItemBits | None = None,
  chunk: int = 1024,
) -> tuple[Int[Array, "B k"], Float[Array, "B k"], Int[Array, "B k M"]]:
  """Returns ids, scores and codes of the k best items of all, best first.

  Order and empty places are those of decoding.beam.beam_search.
  """
  scores_BV1 = exact_scores(decoder, trie, chunk)
  if allowed is not None:
    scores_BV1 = jnp.where(unpack(trie, allowed), scores_BV1, -jnp.inf)
  ids_Bk, scores_Bk = top_k(scores_BV1, k)
  ids_Bk = jnp.where(scores_Bk > -jnp.inf, ids_Bk, 0)
  codes_BkM = trie.codes(trie.leaves(ids_Bk))
  return ids_Bk, scores_Bk, jnp.where((ids_Bk > 0)[..., None], codes_BkM, 0)


@dataclasses.dataclass(frozen=True)
class _Beams:
  """A model that stands at neighbouring states of one depth.

  Attributes:
    cache: of the model.
    logp_BKC: of the codes after the states.
    scores_BK: log-probabilities of the states' codes.
    first: number of the first state.
    count: states that count, of K.
  """

  cache: Any
  logp_BKC: Array
  scores_BK: Array
  first: Array
  count: Array


def _descend(
  decoder: Decoder,
  trie: Trie,
  chunk: int,
  level: int,
  beams: _Beams,
  scores_BS: Array,
) -> Array:
  """Scores with those of all leaves below the beams, of depth `level`."""
  begin = trie.first_child[level][beams.first]
  end = trie.first_child[level][beams.first + beams.count]
  num_children = trie.num_states(level + 1)
  size = min(chunk, num_children)
  batch, num_beams = beams.scores_BK.shape

  def visit(index, scores_BS):
    start = begin + index * size
    child_n = start + jnp.arange(size, dtype=jnp.int32)
    child_n = jnp.minimum(child_n, num_children - 1)
    code_n = trie.code[level][child_n]
    # Beyond the end stand children of the next chunk: without meaning here,
    # and overwritten there.
    parent_n = trie.parent[level][child_n] - beams.first
    parent_n = jnp.clip(parent_n, 0, num_beams - 1)
    scores_Bn = (
      beams.scores_BK[:, parent_n] + beams.logp_BKC[:, parent_n, code_n]
    )
    if level == trie.num_levels - 1:
      return jax.lax.dynamic_update_slice(scores_BS, scores_Bn, (0, start))
    cache, logits_BnC = decoder.step(
      beams.cache,
      level + 1,
      jnp.broadcast_to(code_n[None], (batch, size)),
      jnp.broadcast_to(parent_n[None], (batch, size)),
    )
    children = _Beams(
      cache=cache,
      logp_BKC=log_probs(logits_BnC, level + 1, trie.level_sizes),
      scores_BK=scores_Bn,
      first=start,
      count=jnp.minimum(size, end - start),
    )
    return _descend(decoder, trie, chunk, level + 1, children, scores_BS)

  return jax.lax.fori_loop(0, -(-(end - begin) // size), visit, scores_BS)
