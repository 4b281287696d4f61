# SPDX-License-Identifier: Apache-2.0
"""Beams and cold items ranked by vectors, against brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.beam import beam_leaves
from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.trie import Trie
from genrec_jax.retrieval.beam_union import BeamUnion
from genrec_jax.retrieval.strategy import BoundModel, SearchItems
from tests.decoding import cases

_WIDTH = 3


def _apply(level_sizes, query_BD, *args, method):
  """The toy model's methods, as Linen's apply finds them."""
  if method in ("start", "start_from"):
    return cases.HashDecoder(args[0]["request"], level_sizes).start()
  if method == "step":
    return cases.HashDecoder(None, level_sizes).step(*args)
  assert method == "history_vector"
  return query_BD


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(strategy, level_sizes, query_BD, request_B, items, allowed_BW):
  apply = functools.partial(_apply, level_sizes, query_BD)
  model = BoundModel(apply, {"request": request_B})
  return strategy(model, items, allowed_BW)


def _case(seed, shape):
  case = cases.make(seed, shape)
  draw = np.random.default_rng(seed)
  vectors = draw.normal(size=(len(case.codes), _WIDTH)).astype(np.float32)
  query = draw.normal(size=(3, _WIDTH)).astype(np.float32)
  cold = draw.random(len(case.codes)) < 0.3
  return case, vectors, query, cold


def _found(strategy, case, vectors, query, cold, masked=True):
  items = SearchItems(case.trie, jnp.asarray(cold), jnp.asarray(vectors))
  words = ItemMask.of(case.allowed).words_BW if masked else None
  request = case.decoder.request_B
  found = _search(
    strategy, case.trie.level_sizes, jnp.asarray(query), request, items, words
  )
  return [np.asarray(x) for x in found]


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _assert_best(case, found, vectors, query, candidates, added=0.0):
  """The lists hold the candidates by cosine and what is added, each once."""
  cosines = _unit(query.astype(np.float64)) @ _unit(vectors).T
  cosines = cosines + added
  for row, (ids, scores, codes) in enumerate(zip(*found, strict=True)):
    want = np.flatnonzero(candidates[row])
    want = want[np.lexsort((want, -cosines[row, want]))]
    count = min(len(want), len(ids))
    np.testing.assert_array_equal(ids[:count], want[:count])
    assert not ids[count:].any() and (scores[count:] == -np.inf).all()
    np.testing.assert_allclose(
      scores[:count], cosines[row, want[:count]], atol=1e-5
    )
    np.testing.assert_array_equal(codes[:count], case.codes[want[:count]])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shape", [0, 1])
def test_with_all_beams_it_is_brute_force(shape, masked):
  for seed in range(4):
    case, vectors, query, cold = _case(seed, shape)
    for with_cold in (True, False):
      strategy = BeamUnion(25, 25, with_cold)
      found = _found(strategy, case, vectors, query, cold, masked)
      allowed = case.allowed if masked else np.ones_like(case.allowed)
      _assert_best(case, found, vectors, query, allowed & case.live)


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_candidates_are_those_of_the_beams_and_the_cold(weight):
  for seed in range(4):
    case, vectors, query, cold = _case(seed, 0)
    for with_cold in (True, False):
      strategy = BeamUnion(25, 3, with_cold, weight)
      found = _found(strategy, case, vectors, query, cold)
      bits = pack(case.trie, jnp.asarray(case.allowed))
      beams = beam_leaves(case.decoder, case.trie, 3, bits)
      candidates = np.zeros_like(case.allowed)
      for row, beam in zip(*np.nonzero(beams.scores_BK > -np.inf), strict=True):
        proposed = np.asarray(beams.codes_BKM[row, beam])
        candidates[row] |= (case.codes == proposed).all(axis=1)
      candidates &= case.allowed & case.live
      # What no beam proposes has the probability of the last one.
      scores = np.asarray(beams.scores_BK)
      last = np.where(scores > -np.inf, scores, 0).min(axis=1, keepdims=True)
      logp = np.where(candidates, case.scores(), last)
      if with_cold:
        candidates |= case.allowed & case.live & cold
      _assert_best(case, found, vectors, query, candidates, weight * logp)


@pytest.mark.parametrize("most", [3, 4, 12])
def test_beams_of_all_codes_are_brute_force_where_items_share_them(most):
  # Six codes of 4, 3, 2, 1, 1 and 1 items.
  first = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5])
  codes = np.zeros((13, 2), np.int32)
  codes[1:] = np.stack([first % 3, first // 3], axis=1)
  trie = Trie.build(codes, (3, 2))
  draw = np.random.default_rng(0)
  vectors = draw.normal(size=(13, _WIDTH)).astype(np.float32)
  query = draw.normal(size=(3, _WIDTH)).astype(np.float32)
  decoder = cases.HashDecoder(jnp.arange(3, dtype=jnp.uint32), (3, 2))
  live = np.arange(13) > 0
  everything = np.broadcast_to(live, (3, 13))
  case = cases.Case(codes, live, trie, decoder, everything)
  found = _found(BeamUnion(most, 6, False), case, vectors, query, ~live, False)
  _assert_best(case, found, vectors, query, everything)


def test_what_cannot_be_is_refused():
  for change in ({"num_beams": 0}, {"num_results": -1}):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} must be at least"):
      BeamUnion(**change)
  with pytest.raises(
    ValueError, match="code_weight=-1.0 must be a number of 0"
  ):
    BeamUnion(code_weight=-1.0)
