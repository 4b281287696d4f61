# SPDX-License-Identifier: Apache-2.0
"""A model that generates items as a ranker: requests -> codes -> items.

    search(requests, k, allowed) = decode(batch(requests), items, allowed)[:k]

What `decode` does is a strategy (retrieval/strategy.py), chosen in
config.retrieval. Those below ask for a decoder (decoding/decoder.py) and stay
within the trie; they differ in how much of it they look at. Items that share
all codes share a score, as vectors that are equal would.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32
import numpy as np

from genrec_jax.core import finite, seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.best_first import best_first_search
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.exact import exact_search
from genrec_jax.decoding.item_bits import of_ids, pack
from genrec_jax.decoding.prefix_back_off import prefix_back_off
from genrec_jax.decoding.prefix_match import prefix_match
from genrec_jax.retrieval.model_search import padded
from genrec_jax.retrieval.strategy import Found, SearchItems

_WHERE = "config.retrieval"


@dataclasses.dataclass(frozen=True)
class Beam:
  """Beam search: the num_beams best prefixes of every level go on.

  Attributes:
    num_beams: prefixes kept, and items returned.
  """

  num_beams: int = 64

  needs: ClassVar[tuple[type, ...]] = (seams.DecoderModel,)

  @property
  def num_results(self) -> int:
    """All that is kept."""
    return self.num_beams

  def __call__(
    self,
    decoder: Decoder,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    bits = _bits(items.trie, allowed_BW)
    return beam_search(decoder, items.trie, self.num_beams, bits)

  def widened(self, num_results: int) -> "Beam":
    """As many beams as results: each ends at an item of its own."""
    return dataclasses.replace(self, num_beams=num_results)


@dataclasses.dataclass(frozen=True)
class Exact:
  """Scores every item of the catalogue: what a beam approximates.

  Attributes:
    num_results: items returned.
    chunk: prefixes decoded at a time.
  """

  num_results: int = 64
  chunk: int = 2048

  needs: ClassVar[tuple[type, ...]] = (seams.DecoderModel,)

  def __post_init__(self):
    check_counts(self, _WHERE, "num_results", "chunk")

  def __call__(
    self,
    decoder: Decoder,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    return exact_search(
      decoder,
      items.trie,
      self.num_results,
      _bits(items.trie, allowed_BW),
      chunk=self.chunk,
    )

  def widened(self, num_results: int) -> "Exact":
    """See Widening."""
    return dataclasses.replace(self, num_results=num_results)


@dataclasses.dataclass(frozen=True)
class BestFirst:
  """Expands the most probable prefix first, until the best are certain.

  Attributes:
    num_results: items returned.
    budget: most rounds of expansion; a spent budget returns what is complete.
    width: prefixes expanded per round.
  """

  num_results: int = 64
  budget: int = 256
  width: int = 16

  needs: ClassVar[tuple[type, ...]] = (seams.DecoderModel,)

  def __post_init__(self):
    check_counts(self, _WHERE, "num_results", "budget", "width")

  def __call__(
    self,
    decoder: Decoder,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    found = best_first_search(
      decoder,
      items.trie,
      self.num_results,
      budget=self.budget,
      width=self.width,
      allowed=_bits(items.trie, allowed_BW),
    )
    return found.ids_Bk, found.scores_Bk, found.codes_BkM

  def widened(self, num_results: int) -> Beam:
    """Beams, which no budget ends: its queue would grow with the budget."""
    return Beam(num_results)


@dataclasses.dataclass(frozen=True)
class PrefixMatch:
  """Beam search that gives a share of the places to items never trained on.

  Attributes:
    num_beams: prefixes kept, and items returned.
    depth: codes by which those items are ranked.
    share: of the first places that they get at most, as long as there are
      others.
  """

  num_beams: int = 64
  depth: int = 3
  share: float = 0.1

  needs: ClassVar[tuple[type, ...]] = (seams.DecoderModel,)

  def __post_init__(self):
    check_counts(self, _WHERE, "num_beams", "depth")
    if not 0 <= self.share <= 1:
      raise ValueError(f"{_WHERE}.share={self.share} must lie between 0 and 1.")

  @property
  def num_results(self) -> int:
    """All that is kept."""
    return self.num_beams

  def __call__(
    self,
    decoder: Decoder,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy and decoding/prefix_match.py."""
    trie, cold_V1 = items.trie, items.cold_V1
    seen, unseen = (pack(trie, x[None]) for x in (~cold_V1, cold_V1))
    if allowed_BW is None:
      rows = jax.eval_shape(lambda: decoder.start()[1]).shape[0]
      seen, unseen = (
        jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), bits)
        for bits in (seen, unseen)
      )
    else:
      allowed = of_ids(trie, allowed_BW)
      seen, unseen = allowed & seen, allowed & unseen
    return prefix_match(
      decoder,
      trie,
      self.num_beams,
      seen,
      unseen,
      depth=self.depth,
      share=self.share,
    )

  def widened(self, num_results: int) -> "PrefixMatch":
    """See Widening."""
    return dataclasses.replace(self, num_beams=num_results)


@dataclasses.dataclass(frozen=True)
class PrefixBackOff:
  """A few beams, and behind their items what shares their prefixes.

  Attributes:
    num_beams: prefixes kept.
    num_results: items returned.
  """

  num_beams: int = 20
  num_results: int = 64

  needs: ClassVar[tuple[type, ...]] = (seams.DecoderModel,)

  def __post_init__(self):
    check_counts(self, _WHERE, "num_beams", "num_results")

  def __call__(
    self,
    decoder: Decoder,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy and decoding/prefix_back_off.py; says matched_depth."""
    *found, depth_BR = prefix_back_off(
      decoder,
      items.trie,
      self.num_beams,
      self.num_results,
      _bits(items.trie, allowed_BW),
    )
    return *found, {"matched_depth": depth_BR}

  def widened(self, num_results: int) -> "PrefixBackOff":
    """See Widening."""
    return dataclasses.replace(self, num_results=num_results)


def _bits(trie, allowed_BW):
  return None if allowed_BW is None else of_ids(trie, allowed_BW)


@dataclasses.dataclass(frozen=True)
class Generative:
  """`search` of a model that generates; the instance itself is the function.

  Attributes:
    decode_fn: (batch, items, words of allowed items or None) -> ids, scores,
      codes; jitted, with a strategy inside.
    request_batch: Requests -> batch of arrays with fixed shapes.
    items: that are searched.
    batch_size: rows of every batch that decode_fn sees.
    num_results: items that decode_fn returns; None = as many as it does.
    widened: number of results -> a decode_fn that fills so many places, as
      long as there are items; None where the strategy cannot.
  """

  decode_fn: Callable[..., Found]
  request_batch: Callable[[Requests], Mapping[str, Any]]
  items: SearchItems
  batch_size: int
  num_results: int | None = None
  widened: Callable[[int], Callable[..., Found]] | None = None

  def __call__(
    self,
    requests: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Returns ids (B, k) and scores (B, k) on the host, and {"codes"}.

    With the codes goes what else the strategy says of each place, by name.
    Places beyond the allowed items hold id 0 and score -inf, and those beyond
    what the strategy returns where it cannot be widened.

    Raises:
      ValueError: scores that are not finite.
    """
    count = len(requests)
    requests, allowed = padded(requests, allowed, self.batch_size)
    words_BW = None if allowed is None else allowed.words_BW
    batch = self.request_batch(requests)
    if self.num_results is not None and self.num_results < k and self.widened:
      decode_fn = self.widened(self._wide(k))
      found = jax.device_get(decode_fn(batch, self.items, words_BW))
    else:
      found = jax.device_get(self.decode_fn(batch, self.items, words_BW))
      short_B = self._short(found[0], k, allowed)
      if self.widened and short_B[:count].any():
        decode_fn = self.widened(self._wide(k))
        wide = jax.device_get(decode_fn(batch, self.items, words_BW))
        # Nobody's list depends on who else is asked for.
        found = jax.tree.map(
          functools.partial(_rows_of, short_B), tuple(wide), tuple(found)
        )
    found = jax.tree.map(lambda x: x[:count, :k], tuple(found))
    ids, scores, codes, *said = found
    finite.check_scores(scores)
    missing = ((0, 0), (0, max(0, k - ids.shape[1])))
    aux = {"codes": np.pad(codes, (*missing, (0, 0)))}
    for by_name in said:
      for name, x_BK in by_name.items():
        aux[name] = np.pad(x_BK, missing, constant_values=-1)
    return (
      np.pad(ids, missing),
      np.pad(scores, missing, constant_values=-np.inf),
      aux,
    )

  def _wide(self, k: int) -> int:
    """Places to ask for: of a few sizes, so that few programs compile."""
    size = self.num_results or 1
    while size < k:
      size *= 2
    return size

  def _short(
    self, ids: np.ndarray, k: int, allowed: ItemMask | None
  ) -> np.ndarray:
    """Which lists lack items that they could have, (B,)."""
    possible = self._searchable.count()
    if allowed is not None:
      possible = (allowed & self._searchable).count()
    return (ids[:, :k] > 0).sum(axis=1) < np.minimum(k, possible)

  @functools.cached_property
  def _searchable(self) -> ItemMask:
    """One row: items that the trie leads to."""
    return ItemMask.of(np.asarray(self.items.trie.place_V1)[None] >= 0)


def _rows_of(
  where_B: np.ndarray, wide: np.ndarray, narrow: np.ndarray
) -> np.ndarray:
  """Rows of `wide` where it holds; of `narrow`, filled up, where not."""
  found = wide.copy()
  found[~where_B] = 0 if wide.dtype.kind == "i" else -np.inf
  width = min(wide.shape[1], narrow.shape[1])
  found[~where_B, :width] = narrow[~where_B, :width]
  return found
