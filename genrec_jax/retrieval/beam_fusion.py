# SPDX-License-Identifier: Apache-2.0
"""From coarse to fine: beams of codes, and the items nearest to each one's
vector.

    phi_k    log p(codes_k), the num_beams best of the trie
    v_k      the vector that the model gives once it has read codes_k
    a        of the items with codes_k, the num_neighbors nearest to v_k

    score(k, a) = softmax_k(beam_scale phi)[k]
                  softmax_a(vector_scale cos(v_k, v_a))[a]

BeamFusion of Yang et al. (COBRA, arXiv 2503.02453, section 3.4), in which
vector_scale is 16 and the best beam_scale about 0.9. What the second softmax
is over is not published: a beam's neighbours here, or with
over="cluster" all allowed items of its codes. An item found by several beams
keeps its best score, and stands in a list once.

Scores are logarithms of the products, which order alike and do not underflow.
Everything is one program: a cluster is a slice of the trie's items, as wide as
the largest of them. Memory: a (B, G, D) array at a time for G items of the
largest cluster, and (B, K, N) of what is kept.
"""

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from genrec_jax.core import seams
from genrec_jax.decoding.beam import Beams, beam_leaves
from genrec_jax.decoding.candidates import count_items, nth_item
from genrec_jax.decoding.item_bits import ItemBits, of_ids
from genrec_jax.decoding.trie import Trie
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES
from genrec_jax.ops.top_k import top_k
from genrec_jax.retrieval.strategy import (
  BoundModel,
  CachedDecoder,
  Found,
  SearchItems,
  best_of_each,
)


@runtime_checkable
class BeamVectorModel(seams.DecoderModel, seams.VectorModel, Protocol):
  """A model that gives a vector once it has read the codes of a beam."""

  def start_from(
    self, batch: Any, vectors_RD: Float[Array, "R D"]
  ) -> tuple[Any, Float[Array, "B C"]]:
    """As start, with what `items` gave in place of encoding items anew."""

  def beam_vectors(
    self, cache: Any, codes_BK: Int[Array, "B K"], parents_BK: Int[Array, "B K"]
  ) -> Float[Array, "B K D"]:
    """Vectors of beams, from the cache of the last step and the last codes."""


@dataclasses.dataclass(frozen=True)
class BeamFusion:
  """See the module docstring.

  Attributes:
    num_results: items returned.
    num_beams: M, codes that are looked at.
    num_neighbors: N, items of each.
    beam_scale: multiplies a beam's log-probability; 0 weighs beams alike.
    vector_scale: multiplies a cosine; 0 weighs a beam's neighbours alike.
    over: what the softmax over items is of: "neighbors" or "cluster".
    max_cluster: most items that share all codes; more are refused, as every
      beam of every request has room for so many.
  """

  num_results: int = 64
  num_beams: int = 20
  num_neighbors: int = 20
  beam_scale: float = 0.9
  vector_scale: float = 16.0
  over: str = "neighbors"
  max_cluster: int = 4096

  needs: ClassVar[tuple[type, ...]] = (BeamVectorModel,)

  def __post_init__(self):
    for name in ("num_results", "num_beams", "num_neighbors", "max_cluster"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"config.retrieval.{name}={getattr(self, name)} must be at least 1."
        )
    for name in ("beam_scale", "vector_scale"):
      if not 0 <= getattr(self, name) < float("inf"):
        raise ValueError(
          f"config.retrieval.{name}={getattr(self, name)} must be a number of 0"
          " or more."
        )
    if self.over not in ("neighbors", "cluster"):
      raise ValueError(
        f"config.retrieval.over={self.over!r} must be 'neighbors' or 'cluster'."
      )

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy.

    Raises:
      ValueError: a cluster of more than max_cluster items (says how many).
    """
    trie = items.trie
    if trie.max_group > self.max_cluster:
      raise ValueError(
        f"{trie.max_group} items share all their codes, and"
        f" config.retrieval.max_cluster is {self.max_cluster}: make finer codes"
        " (config.tokens.tokenizer.level_sizes), or set it to as many."
      )
    bits = None if allowed_BW is None else of_ids(trie, allowed_BW)
    decoder = CachedDecoder(model, items.vectors_RD)
    beams = beam_leaves(decoder, trie, self.num_beams, bits)
    query_BKD = model.ask(
      "beam_vectors", beams.cache, beams.codes_BKM[..., -1], beams.parents_BK
    )
    return self.fused(trie, beams, query_BKD, items.vectors_RD, bits)

  def fused(
    self,
    trie: Trie,
    beams: Beams,
    query_BKD: Float[Array, "B K D"],
    vectors_RD: Float[Array, "R D"],
    allowed: ItemBits | None,
  ) -> tuple[Int[Array, "B k"], Float[Array, "B k"], Int[Array, "B k M"]]:
    """Ids, scores and codes of the best items near the beams' vectors.

    Args:
      trie: of the items.
      beams: the best codes.
      query_BKD: their vectors.
      vectors_RD: of all items.
      allowed: items that each request may get; None = all.
    """
    ids_BKN, logp_BKN = self._neighbors(
      trie, beams, query_BKD, vectors_RD, allowed
    )
    phi_BK = jnp.where(
      beams.scores_BK > -jnp.inf, self.beam_scale * beams.scores_BK, -jnp.inf
    )
    scores_BKN = _log_softmax(phi_BK)[:, :, None] + logp_BKN
    batch, num_beams, found = ids_BKN.shape
    beam_BN = jnp.broadcast_to(
      jnp.arange(num_beams, dtype=jnp.int32)[None, :, None], ids_BKN.shape
    )
    ids_BP, scores_BP, beam_BP = best_of_each(
      *(
        x.reshape(batch, num_beams * found)
        for x in (ids_BKN, scores_BKN, beam_BN)
      )
    )
    place_Bk, scores_Bk = top_k(scores_BP, self.num_results)
    place_Bk = jnp.minimum(place_Bk, ids_BP.shape[1] - 1)
    there_Bk = scores_Bk > -jnp.inf
    ids_Bk = jnp.take_along_axis(ids_BP, place_Bk, axis=1)
    beam_Bk = jnp.take_along_axis(beam_BP, place_Bk, axis=1)
    codes_BkM = jnp.take_along_axis(beams.codes_BKM, beam_Bk[..., None], axis=1)
    return (
      jnp.where(there_Bk, ids_Bk, 0),
      scores_Bk,
      jnp.where(there_Bk[..., None], codes_BkM, 0),
    )

  def widened(self, num_results: int) -> "BeamFusion":
    """As many beams as results, each with an item at least."""
    return dataclasses.replace(
      self,
      num_results=num_results,
      num_beams=max(self.num_beams, num_results),
      num_neighbors=max(self.num_neighbors, num_results),
    )

  def _neighbors(self, trie, beams, query_BKD, vectors_RD, allowed):
    """Ids and log-softmax of each beam's neighbours, (B, K, N); 0 and -inf."""
    low_BK = trie.first_item[-1][beams.leaves_BK]
    count_BK = count_items(trie, beams.leaves_BK, allowed)
    count_BK = jnp.where(beams.scores_BK > -jnp.inf, count_BK, 0)
    nth_G = jnp.arange(trie.max_group, dtype=jnp.int32)
    kept = min(self.num_neighbors, trie.max_group)

    def of_beam(beam):
      low_B, count_B, query_BD = beam
      there_BG = nth_G[None, :] < count_B[:, None]
      low_BG = jnp.broadcast_to(low_B[:, None], there_BG.shape)
      nth_BG = jnp.broadcast_to(nth_G[None, :], there_BG.shape)
      ids_BG = trie.items_N[nth_item(trie, low_BG, nth_BG, allowed)]
      cosines_BG = jnp.einsum(
        "BD,BGD->BG",
        l2_normalize(query_BD.astype(jnp.float32)),
        l2_normalize(vectors_RD[ids_BG].astype(jnp.float32)),
        precision=SCORES,
      )
      scores_BG = jnp.where(there_BG, self.vector_scale * cosines_BG, -jnp.inf)
      columns_BN, near_BN = top_k(scores_BG, kept)
      if self.over == "cluster":
        total_B1 = jax.nn.logsumexp(scores_BG, axis=1, keepdims=True)
        logp_BN = jnp.where(near_BN > -jnp.inf, near_BN - total_B1, -jnp.inf)
      else:
        logp_BN = _log_softmax(near_BN)
      ids_BN = jnp.take_along_axis(ids_BG, columns_BN, axis=1)
      return jnp.where(near_BN > -jnp.inf, ids_BN, 0), logp_BN

    by_beam = (low_BK, count_BK, query_BKD)
    by_beam = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), by_beam)
    found = jax.lax.map(of_beam, by_beam)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found)


def _log_softmax(scores: Float[Array, "... N"]) -> Float[Array, "... N"]:
  """Over the last axis; -inf stays, and rows of nothing else are -inf."""
  total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
  return jnp.where(scores > -jnp.inf, scores - total, -jnp.inf)
