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
Neighbours come from one of two places that answer alike: a table in the same
program (cluster_table.py), (B, G, D) at a time for G items of the largest
cluster, or an index of each cluster on the host (cluster_index.py). The rule of
clusters="auto" is the table on accelerators, up to max_cluster; on a CPU, whose
cores do both, up to 128 items: from there on the index was measured to be the
faster one (docs/semantic_ids.md).
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts, check_scales
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.beam import Beams, beam_leaves
from genrec_jax.decoding.item_bits import ItemBits, of_ids
from genrec_jax.decoding.trie import Trie
from genrec_jax.ops.top_k import top_k
from genrec_jax.retrieval.cluster_index import ClusterIndex
from genrec_jax.retrieval.cluster_table import Near, nearest_in_table
from genrec_jax.retrieval.strategy import (
  BoundModel,
  CachedDecoder,
  Found,
  SearchItems,
  best_of_each,
  unless_no_numbers,
)

# On one core the index was 1.5 times as fast as the table where the largest
# cluster had 147 items, and not slower where it had 47.
_MOST_ON_CPU = 128


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
    clusters: "table", "index", or "auto": the table while the largest cluster
      is small enough, and the index beyond. Where several processes share the
      items there is no index, and "auto" is the table.
    max_cluster: most items that share all codes for a table, where every beam
      of every request has room for so many.
    approximate_above: with an index, items of a cluster from which on ScaNN
      searches it; None: never. over="cluster" needs all scores, and never
      does.
  """

  num_results: int = 64
  num_beams: int = 20
  num_neighbors: int = 20
  beam_scale: float = 0.9
  vector_scale: float = 16.0
  over: str = "neighbors"
  clusters: str = "auto"
  max_cluster: int = 4096
  approximate_above: int | None = None

  needs: ClassVar[tuple[type, ...]] = (BeamVectorModel,)
  adds_cold: ClassVar[bool] = False

  def __post_init__(self):
    where = "config.retrieval"
    check_counts(
      self, where, "num_results", "num_beams", "num_neighbors", "max_cluster"
    )
    check_scales(self, where, "beam_scale", "vector_scale")
    if self.approximate_above is not None:
      check_counts(self, where, "approximate_above")
    if self.over not in ("neighbors", "cluster"):
      raise ValueError(
        f"config.retrieval.over={self.over!r} must be 'neighbors' or 'cluster'."
      )
    if self.clusters not in ("auto", "table", "index"):
      raise ValueError(
        f"config.retrieval.clusters={self.clusters!r} must be 'auto', 'table'"
        " or 'index'."
      )

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy: with the table.

    Raises:
      ValueError: a cluster of more than max_cluster items (says how many).
    """
    trie = items.trie
    if trie.max_group > self.max_cluster:
      raise ValueError(
        f"{trie.max_group} items share all their codes, and"
        f" config.retrieval.max_cluster is {self.max_cluster}: search them by"
        " an index (config.retrieval.clusters='index', of one process), make"
        " finer codes (config.tokens.tokenizer.level_sizes), or set it to as"
        " many."
      )
    bits = None if allowed_BW is None else of_ids(trie, allowed_BW)
    beams, query_BKD = self._beams(model, items, bits)
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
    near = nearest_in_table(
      trie,
      beams.leaves_BK,
      beams.scores_BK > -jnp.inf,
      query_BKD,
      vectors_RD,
      allowed,
      num_neighbors=self.num_neighbors,
      scale=self.vector_scale,
    )
    return self._best(beams.scores_BK, beams.codes_BKM, near)

  def on_host(self, items: SearchItems) -> ClusterIndex | None:
    """See HostFinish."""
    several = jax.process_count() > 1
    if self.clusters == "index" and several:
      raise ValueError(
        "config.retrieval.clusters='index' searches on the host of one process,"
        f" and there are {jax.process_count()}: take 'table'."
      )
    limit = self.max_cluster
    if jax.default_backend() == "cpu":
      limit = min(limit, _MOST_ON_CPU)
    small = items.trie.max_group <= limit
    if {"auto": small or several, "table": True, "index": False}[self.clusters]:
      return None
    return ClusterIndex.build(items, self.approximate_above)

  def in_parts(
    self, index: ClusterIndex
  ) -> tuple["BeamsAlone", Callable[..., Found]]:
    """See HostFinish."""
    return BeamsAlone(self), functools.partial(self._finish, index)

  def _finish(self, index, found, allowed: ItemMask | None) -> Found:
    """The best items near the beams that BeamsAlone gave."""
    leaves_BK, scores_BK, codes_BKM, query_BKD = map(np.asarray, found)
    near = index.nearest(
      leaves_BK,
      scores_BK > -np.inf,
      query_BKD,
      allowed,
      num_neighbors=self.num_neighbors,
      scale=self.vector_scale,
      with_total=self.over == "cluster",
    )
    return _best_of(self, scores_BK, codes_BKM, near)

  def _beams(self, model, items, bits):
    """The best codes, and a vector of each."""
    decoder = CachedDecoder(model, items.vectors_RD)
    beams = beam_leaves(decoder, items.trie, self.num_beams, bits)
    query_BKD = model.ask(
      "beam_vectors", beams.cache, beams.codes_BKM[..., -1], beams.parents_BK
    )
    # A beam without a vector counts as one whose codes are no numbers.
    wrong_BK = ~jnp.isfinite(query_BKD).all(axis=-1)
    wrong_BK &= beams.scores_BK > -jnp.inf
    scores_BK = jnp.where(wrong_BK, jnp.inf, beams.scores_BK)
    return dataclasses.replace(beams, scores_BK=scores_BK), query_BKD

  def _best(self, scores_BK, codes_BKM, near: Near) -> Found:
    """Fuses scores of beams with those of their neighbours."""
    if self.over == "cluster":
      there_BKN = near.scores_BKN > -jnp.inf
      logp_BKN = near.scores_BKN - near.total_BK[..., None]
      logp_BKN = jnp.where(there_BKN, logp_BKN, -jnp.inf)
    else:
      logp_BKN = _log_softmax(near.scores_BKN)
    phi_BK = jnp.where(
      scores_BK > -jnp.inf, self.beam_scale * scores_BK, -jnp.inf
    )
    scores_BKN = _log_softmax(phi_BK)[:, :, None] + logp_BKN
    batch, num_beams, found = near.ids_BKN.shape
    beam_BN = jnp.broadcast_to(
      jnp.arange(num_beams, dtype=jnp.int32)[None, :, None], scores_BKN.shape
    )
    ids_BP, scores_BP, beam_BP = best_of_each(
      *(
        x.reshape(batch, num_beams * found)
        for x in (near.ids_BKN, scores_BKN, beam_BN)
      )
    )
    place_Bk, scores_Bk = top_k(scores_BP, self.num_results)
    place_Bk = jnp.minimum(place_Bk, ids_BP.shape[1] - 1)
    there_Bk = scores_Bk > -jnp.inf
    ids_Bk = jnp.take_along_axis(ids_BP, place_Bk, axis=1)
    beam_Bk = jnp.take_along_axis(beam_BP, place_Bk, axis=1)
    codes_BkM = jnp.take_along_axis(codes_BKM, beam_Bk[..., None], axis=1)
    return (
      jnp.where(there_Bk, ids_Bk, 0),
      unless_no_numbers(scores_Bk, scores_BK),
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


@dataclasses.dataclass(frozen=True)
class BeamsAlone:
  """The part of a BeamFusion that reads the model.

  Attributes:
    fusion: whose beams these are.
  """

  fusion: BeamFusion

  needs: ClassVar[tuple[type, ...]] = (BeamVectorModel,)

  @property
  def num_results(self) -> int:
    """Of the whole."""
    return self.fusion.num_results

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> tuple[Array, ...]:
    """Leaves, scores, codes and vectors of the beams."""
    bits = None if allowed_BW is None else of_ids(items.trie, allowed_BW)
    beams, query_BKD = self.fusion._beams(model, items, bits)
    return beams.leaves_BK, beams.scores_BK, beams.codes_BKM, query_BKD


@functools.partial(jax.jit, static_argnums=0)
def _best_of(fusion: BeamFusion, scores_BK, codes_BKM, near: Near) -> Found:
  return fusion._best(scores_BK, codes_BKM, near)


def _log_softmax(scores: Float[Array, "... N"]) -> Float[Array, "... N"]:
  """Over the last axis; -inf stays, and rows of nothing else are -inf."""
  total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
  return jnp.where(scores > -jnp.inf, scores - total, -jnp.inf)
