# SPDX-License-Identifier: Apache-2.0
"""A search by codes, then by vectors within them, is the enumeration.

The toy asks all that the seam carries: beams over leaves, a vector of every
beam from the cache that its last code went into, and the vectors of the items
below the leaf.
"""

import dataclasses
import functools
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core import seams
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.beam import beam_leaves
from genrec_jax.decoding.candidates import count_items, nth_item
from genrec_jax.decoding.item_bits import of_ids
from genrec_jax.retrieval.generative import Beam
from genrec_jax.retrieval.strategy import (
  BoundModel,
  SearchItems,
  check_model,
  needs_vectors,
)
from tests.decoding import cases

_WIDTH = 3
_K = 25


@runtime_checkable
class BeamQueryModel(seams.VectorModel, Protocol):
  """A model that has a query of every beam."""

  def beam_query(self, cache, codes_BK, parents_BK): ...


def _query(hashes, xp):
  """A vector of eighths for every hash."""
  place = xp.arange(_WIDTH, dtype=xp.uint32) + xp.uint32(100)
  place = place.reshape((1,) * hashes.ndim + (_WIDTH,))
  mixed = cases._mix(hashes[..., None], place, xp) % xp.uint32(17)
  return mixed.astype(xp.float32) / 8 - 1


def _apply(level_sizes, *args, method):
  """The toy model's methods, as Linen's apply finds them."""
  if method == "start":
    return cases.HashDecoder(args[0]["request"], level_sizes).start()
  if method == "step":
    return cases.HashDecoder(None, level_sizes).step(*args)
  assert method == "beam_query"
  cache_BK, codes_BK, parents_BK = args
  hash_BK = jnp.take_along_axis(cache_BK, parents_BK, axis=1)
  hash_BK = cases._mix(hash_BK, codes_BK.astype(jnp.uint32) + 1, jnp)
  return _query(hash_BK, jnp)


@dataclasses.dataclass(frozen=True)
class Fused:
  """score(i) = log p(codes of i) + <query of its codes, vector of i>."""

  num_results: int

  needs: ClassVar = (seams.DecoderModel, BeamQueryModel)

  def __call__(self, model, items, allowed_BW):
    trie = items.trie
    bits = of_ids(trie, allowed_BW)
    beams = beam_leaves(model, trie, self.num_results, bits)
    query_BKD = model.ask(
      "beam_query", beams.cache, beams.codes_BKM[..., -1], beams.parents_BK
    )
    # Every item below every leaf: (B, K, most items of a leaf).
    nth_G = jnp.arange(trie.max_group)
    shape = (*beams.leaves_BK.shape, trie.max_group)
    low_BKG = jnp.broadcast_to(
      trie.first_item[-1][beams.leaves_BK][..., None], shape
    )
    nth_BKG = jnp.broadcast_to(nth_G[None, None, :], shape)
    flat = (shape[0], -1)
    place = nth_item(trie, low_BKG.reshape(flat), nth_BKG.reshape(flat), bits)
    ids_BKG = trie.items_N[place].reshape(shape)
    count_BK = count_items(trie, beams.leaves_BK, bits)
    there_BKG = nth_BKG < count_BK[..., None]
    there_BKG &= (beams.scores_BK > -jnp.inf)[..., None]
    scores_BKG = beams.scores_BK[..., None] + jnp.einsum(
      "BKD,BKGD->BKG", query_BKD, items.vectors_RD[ids_BKG], precision="highest"
    )
    scores = jnp.where(there_BKG, scores_BKG, -jnp.inf).reshape(flat)
    ids = jnp.where(there_BKG, ids_BKG, 0).reshape(flat)
    codes = jnp.repeat(beams.codes_BKM, trie.max_group, axis=1)
    codes = jnp.where((ids > 0)[..., None], codes, 0)
    order = jnp.lexsort((ids, -scores), axis=1)[:, : self.num_results]
    return (
      jnp.take_along_axis(ids, order, axis=1),
      jnp.take_along_axis(scores, order, axis=1),
      jnp.take_along_axis(codes, order[..., None], axis=1),
    )


@functools.cache
def _search(level_sizes):
  @jax.jit
  def search(batch, items, allowed_BW):
    model = BoundModel(functools.partial(_apply, level_sizes), batch)
    return Fused(_K)(model, items, allowed_BW)

  return search


def _expected(case, vectors_VD):
  """Scores of every item by enumeration, (B, V1)."""
  scores = case.scores(case.allowed)
  requests = np.asarray(case.decoder.request_B)
  for item in np.flatnonzero(case.live):
    hashes = cases._mix(requests, np.full_like(requests, 7), np)
    for code in case.codes[item]:
      hashes = cases._mix(hashes, np.full_like(hashes, code + 1), np)
    scores[:, item] += _query(hashes, np) @ vectors_VD[item]
  return scores


@pytest.mark.slow
@pytest.mark.parametrize("shape", [0, 1])
def test_beams_and_the_items_near_each_are_the_enumeration(shape):
  for seed in range(6):
    case = cases.make(seed, shape)
    draw = np.random.default_rng(seed)
    vectors = draw.integers(-8, 9, (len(case.codes), _WIDTH)) / 8
    vectors = vectors.astype(np.float32)
    items = SearchItems(
      case.trie, jnp.zeros(len(case.codes), bool), jnp.asarray(vectors)
    )
    found = _search(case.trie.level_sizes)(
      {"request": case.decoder.request_B},
      items,
      ItemMask.of(case.allowed).words_BW,
    )
    found = [np.asarray(x)[:, : case.live.sum()] for x in found]
    cases.assert_best(case, *found, _expected(case, vectors))


def test_vectors_are_made_for_those_that_ask():
  assert needs_vectors(Fused(3)) and not needs_vectors(Beam(3))


class _Codes:
  """A model of codes alone."""

  level_sizes = (2,)

  def start(self, batch): ...

  def step(self, cache, level, codes_BK, parents_BK): ...


class _CodesAndVectors(_Codes):
  def items(self, ids=None): ...


def test_what_a_model_lacks_is_said_where_it_enters():
  check_model(Beam(3), _Codes())
  with pytest.raises(ValueError, match=r"Fused.*\(_Codes\) lacks .*items"):
    check_model(Fused(3), _Codes())
  with pytest.raises(ValueError, match="lacks beam_query, .*BeamQueryModel"):
    check_model(Fused(3), _CodesAndVectors())
  with pytest.raises(ValueError, match="config.retrieval .* lacks num_results"):
    check_model(_Codes(), _Codes())
