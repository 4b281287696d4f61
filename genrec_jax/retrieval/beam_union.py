# SPDX-License-Identifier: Apache-2.0
"""Beams propose, vectors rank: codes for what was trained on, and cold items.

    candidates   all items of the num_beams best codes, and all cold items
    score(a)     cos(v, v_a)  +  code_weight log p(codes of a)

v is one vector of the history. With code_weight 0 it is the inference of Yang
et al. (LIGER, arXiv 2411.18814, section 4). A generator gives codes that no
history led to next to no probability: items without an event in the training
part are candidates whatever their codes. A candidate stands in a list once.
Cold items are found by a scan of the catalogue's vectors, in which all others
are masked. Where up to G items share all codes, those of the beams are scored
in G parts, num_beams at a time.
"""

import dataclasses
import math
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts, check_scales
from genrec_jax.data.item_mask import BITS, num_words
from genrec_jax.decoding.beam import beam_leaves
from genrec_jax.decoding.candidates import items_of
from genrec_jax.decoding.item_bits import of_ids
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES
from genrec_jax.ops.top_k import blockwise_top_k, top_k
from genrec_jax.retrieval.strategy import (
  BoundModel,
  CachedDecoder,
  Found,
  SearchItems,
  best_of_each,
  unless_no_numbers,
)

# Cold items are scored so many rows at a time.
_BLOCK = 65_536


@runtime_checkable
class HistoryVectorModel(seams.DecoderModel, seams.VectorModel, Protocol):
  """A model that gives a vector of what comes next, by histories alone."""

  def check_history_vector(self) -> None:
    """Raises a ValueError where this one, as configured, gives none."""

  def start_from(
    self, batch: Any, vectors_RD: Float[Array, "R D"]
  ) -> tuple[Any, Float[Array, "B C"]]:
    """As start, with what `items` gave in place of encoding items anew."""

  def history_vector(self, cache: Any) -> Float[Array, "B D"]:
    """The vector, from the cache of `start_from`."""


@dataclasses.dataclass(frozen=True)
class BeamUnion:
  """See the module docstring.

  Attributes:
    num_results: items returned.
    num_beams: K, codes whose items are candidates.
    with_cold: whether cold items are candidates, beyond those of the beams.
    code_weight: of the codes' log-probability, beside a cosine; 0, as
      published: cosines alone. A cold item that no beam proposes has that of
      the last beam.
  """

  num_results: int = 64
  num_beams: int = 64
  with_cold: bool = True
  code_weight: float = 0.0

  needs: ClassVar[tuple[type, ...]] = (HistoryVectorModel,)

  def __post_init__(self):
    check_counts(self, "config.retrieval", "num_results", "num_beams")
    check_scales(self, "config.retrieval", "code_weight")

  def check_model(self, system: HistoryVectorModel) -> None:
    """See Choosing."""
    system.check_history_vector()

  @property
  def adds_cold(self) -> bool:
    """See Proposing."""
    return self.with_cold

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    decoder = CachedDecoder(model, items.vectors_RD)
    query_BD = l2_normalize(model.ask("history_vector", decoder.start()[0]))
    bits = None if allowed_BW is None else of_ids(items.trie, allowed_BW)
    beams = beam_leaves(decoder, items.trie, self.num_beams, bits)
    parts = [self._of_beams(beams, query_BD, items, bits)]
    if self.with_cold:
      ids_BP, scores_BP = self._cold(query_BD, items, allowed_BW)
      parts.append((ids_BP, scores_BP + self._of_last(beams.scores_BK)))
    ids_BP, scores_BP = (
      jnp.concatenate(x, axis=1) for x in zip(*parts, strict=True)
    )
    ids_BP, scores_BP = best_of_each(ids_BP, scores_BP)
    place_Bk, scores_Bk = top_k(scores_BP, self.num_results)
    place_Bk = jnp.minimum(place_Bk, ids_BP.shape[1] - 1)
    ids_Bk = jnp.take_along_axis(ids_BP, place_Bk, axis=1)
    there_Bk = scores_Bk > -jnp.inf
    scores_Bk = unless_no_numbers(scores_Bk, beams.scores_BK, query_BD)
    ids_Bk = jnp.where(there_Bk, ids_Bk, 0)
    codes_BkM = items.trie.codes(items.trie.leaves(ids_Bk))
    return ids_Bk, scores_Bk, jnp.where(there_Bk[..., None], codes_BkM, 0)

  def widened(self, num_results: int) -> "BeamUnion":
    """As many beams as results: each ends at an item of its own."""
    beams = max(self.num_beams, num_results)
    return dataclasses.replace(self, num_results=num_results, num_beams=beams)

  def _of_last(self, scores_BK):
    """What the codes of the last beam that there is add to a score (B, 1)."""
    last_B1 = jnp.min(
      scores_BK, axis=1, keepdims=True, where=scores_BK > -jnp.inf, initial=0
    )
    return self.code_weight * last_B1

  def _of_beams(self, beams, query_BD, items, bits):
    """Ids and scores of all items of the best codes."""
    trie = items.trie
    batch, kept = beams.leaves_BK.shape
    most = min(kept * trie.max_group, trie.items_N.shape[0])
    count = math.ceil(most / kept)
    ids_BP, logp_BP, _ = items_of(
      trie,
      beams.leaves_BK,
      beams.scores_BK,
      beams.codes_BKM,
      count * kept,
      bits,
    )

    def some(part):
      ids_BK, logp_BK = part
      cosines_BK = jnp.einsum(
        "BD,BKD->BK",
        query_BD,
        l2_normalize(items.vectors_RD[ids_BK]),
        precision=SCORES,
      )
      there_BK = ids_BK > 0
      added_BK = self.code_weight * jnp.where(there_BK, logp_BK, 0)
      return jnp.where(there_BK, cosines_BK + added_BK, -jnp.inf)

    parts = (
      jnp.moveaxis(x.reshape(batch, count, kept), 1, 0)
      for x in (ids_BP, logp_BP)
    )
    scores_GBK = jax.lax.map(some, tuple(parts))
    return ids_BP, jnp.moveaxis(scores_GBK, 0, 1).reshape(ids_BP.shape)

  def _cold(self, query_BD, items, allowed_BW):
    """Ids and scores of the best items that nothing was trained on."""
    trie = items.trie
    words_BW = _words(items.cold_V1 & (trie.place_V1 >= 0))[None]
    if allowed_BW is not None:
      words_BW = words_BW & allowed_BW
    words_BW = jnp.broadcast_to(
      words_BW, (query_BD.shape[0], words_BW.shape[1])
    )
    return blockwise_top_k(
      query_BD,
      l2_normalize(items.vectors_RD),
      self.num_results,
      num_valid=trie.place_V1.shape[0],
      block=_BLOCK,
      allowed_BW=words_BW,
    )


def _words(where_V1: Bool[Array, "V1"]) -> UInt32[Array, "W"]:
  """Bits as the words of an ItemMask (data/item_mask.py)."""
  count = num_words(where_V1.shape[0] - 1)
  bits = jnp.pad(where_V1, (0, count * BITS - where_V1.shape[0]))
  shift = jnp.arange(BITS, dtype=jnp.uint32)
  words = bits.reshape(count, BITS).astype(jnp.uint32) << shift[None, :]
  return jnp.sum(words, axis=1, dtype=jnp.uint32)
