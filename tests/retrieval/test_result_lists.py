# SPDX-License-Identifier: Apache-2.0
"""Lists of every search: items first, each once, best first, then nothing.

Metrics read a target's rank off its place among the scores, and a recommender
the place itself. Both are wrong where a list has holes.
"""

import functools
import itertools

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.best_first import best_first_search
from genrec_jax.decoding.exact import exact_search
from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.sampling import sample_items
from genrec_jax.decoding.unconstrained import unconstrained_search
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.ranking.two_stage import TwoStage
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.generative import Generative, PrefixMatch
from genrec_jax.retrieval.scann import Scann
from genrec_jax.retrieval.strategy import SearchItems
from tests.decoding import cases

# Items, places of a list (more than items), requests of a batch.
_V, _K, _B = 14, 20, 3


def _assert_lists(ids_BK, scores_BK, possible_BV1, *, all_of_them) -> None:
  """Asserts what every list is; `possible` are the items that it may hold."""
  ids_BK, scores_BK = np.asarray(ids_BK), np.asarray(scores_BK)
  assert ids_BK.shape == scores_BK.shape == (len(possible_BV1), ids_BK.shape[1])
  for ids, scores, possible in zip(
    ids_BK, scores_BK, possible_BV1, strict=True
  ):
    count = np.count_nonzero(ids)
    assert (ids[:count] > 0).all(), "a hole before an item"
    assert (scores[:count] > -np.inf).all()
    assert (scores[count:] == -np.inf).all()
    assert possible[ids[:count]].all()
    assert len(set(ids[:count].tolist())) == count
    assert all(a >= b for a, b in itertools.pairwise(scores[:count]))
    if all_of_them:
      assert count == min(len(ids), np.count_nonzero(possible))


def _unconstrained(decoder, trie, bits):
  return unconstrained_search(decoder, trie, 30).items(trie, _K, bits)


def _best_first(budget, decoder, trie, bits):
  found = best_first_search(
    decoder, trie, _K, budget=budget, width=2, allowed=bits
  )
  return found.ids_Bk, found.scores_Bk, found.codes_BkM


# name -> (search, whether it finds everything there is).
_SEARCHES = {
  "beam": (lambda d, t, bits: beam_search(d, t, _K, bits), True),
  "narrow beam": (lambda d, t, bits: beam_search(d, t, 3, bits), False),
  "exact": (lambda d, t, bits: exact_search(d, t, _K, bits), True),
  "best first": (functools.partial(_best_first, 24), True),
  "best first, cut short": (functools.partial(_best_first, 2), False),
  "unconstrained": (_unconstrained, True),
}


@functools.cache
def _jitted(name):
  def run(decoder, trie, allowed):
    return _SEARCHES[name][0](decoder, trie, pack(trie, allowed))

  return jax.jit(run)


@pytest.mark.slow
@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize("name", list(_SEARCHES))
def test_searches_of_a_trie(name, seed):
  case = cases.make(seed, 0)
  ids, scores, _ = _jitted(name)(case.decoder, case.trie, case.allowed)
  possible = case.allowed & case.live[None]
  _assert_lists(ids, scores, possible, all_of_them=_SEARCHES[name][1])


@functools.cache
def _prefix_match(num_beams, share):
  strategy = PrefixMatch(num_beams, depth=2, share=share)

  @jax.jit
  def decode(batch, items, allowed):
    sizes = cases.SHAPES[0][0]
    decoder = cases.HashDecoder(batch["request"], sizes)
    return strategy(decoder, items, allowed)

  return decode


@pytest.mark.slow
@settings(max_examples=15)
@given(
  seed=st.integers(0, 100_000), cold_share=st.sampled_from([0.0, 0.5, 1.0])
)
@pytest.mark.parametrize("num_beams", [4, _K])
@pytest.mark.parametrize("share", [0.0, 0.34, 1.0])
def test_unseen_items_fill_what_seen_ones_leave(
  share, num_beams, seed, cold_share
):
  case = cases.make(seed, 0)
  cold = np.random.default_rng(seed).random(_V + 1) < cold_share
  batch = {"request": case.decoder.request_B}
  items = SearchItems(case.trie, jnp.asarray(cold))
  search = Generative(
    _prefix_match(num_beams, share), lambda _: batch, items, _B
  )
  possible = case.allowed & case.live[None]
  ids, scores, _ = search(_requests(), num_beams, ItemMask.of(case.allowed))
  _assert_lists(ids, scores, possible, all_of_them=True)
  # A list that is longer than what was decoded ends in nothing.
  ids, scores, _ = search(_requests(), _K + 3, ItemMask.of(case.allowed))
  _assert_lists(ids[:, :num_beams], scores[:, :num_beams], possible,
                all_of_them=True)  # fmt: skip
  assert not ids[:, num_beams:].any()


@pytest.mark.slow
def test_draws_fill_a_list_or_nothing():
  draw = jax.jit(
    lambda decoder, trie, keys, allowed: sample_items(
      decoder, trie, keys, _K, top_p=0.7, allowed=pack(trie, allowed)
    )
  )
  for seed in range(8):
    case = cases.make(seed, 0)
    keys = jax.random.split(jax.random.key(seed), _B)
    found = draw(case.decoder, case.trie, keys, case.allowed)
    ids, scores, _ = map(np.asarray, found)
    possible = case.allowed & case.live[None]
    for b in range(_B):
      # Draws are no ranking: an item may come twice, and in any order.
      assert (ids[b] > 0).all() == possible[b].any()
      assert (ids[b] > 0).any() == possible[b].any()
      assert possible[b, ids[b][ids[b] > 0]].all()
      np.testing.assert_array_equal(scores[b] > -np.inf, ids[b] > 0)


def _requests():
  record = {"user": np.array(0, np.int32)}
  return make_requests(
    [({**record, "item": np.array([i + 3, 1], np.int32)}, 1) for i in range(_B)]
  )


def _allowed(rng):
  """A mask in which column 0, of padding, says anything."""
  return rng.random((_B, _V + 1)) < rng.choice([0.0, 0.3, 1.0], (_B, 1))


def _possible(allowed):
  return allowed & (np.arange(_V + 1) > 0)[None]


@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize("block_items", [4, 100])
def test_brute_force(block_items, seed):
  rng = np.random.default_rng(seed)
  items = rng.integers(-2, 3, (_V + 1, 3)).astype(np.float32)
  wrong = rng.random(_V + 1) < 0.2
  items[wrong] = rng.choice([np.nan, np.inf], (int(wrong.sum()), 1))
  query = rng.integers(-2, 3, (_B, 3)).astype(np.float32)
  with np.errstate(invalid="ignore"):
    products = np.stack([(items * q).sum(axis=1) for q in query])
  scored = (products > -np.inf) & ~np.isnan(products)
  index = BruteForce.build(
    items, devices=jax.devices()[:1], block_items=block_items
  )
  for allowed in (None, _allowed(rng)):
    mask = None if allowed is None else ItemMask.of(allowed)
    ids, scores, _ = index.search(query, _K, mask)
    possible = scored if allowed is None else scored & allowed
    _assert_lists(ids, scores, _possible(possible), all_of_them=True)


@settings(max_examples=15)
@given(seed=st.integers(0, 100_000), max_fetch=st.sampled_from([1, 5, 50]))
def test_scann_with_filters(seed, max_fetch):
  pytest.importorskip("scann", reason="published for Linux x86-64 only")
  rng = np.random.default_rng(seed)
  items = rng.integers(-2, 3, (_V + 1, 4)).astype(np.float32)
  query = rng.integers(-2, 3, (_B, 4)).astype(np.float32)
  index = Scann.build(items, max_fetch=max_fetch)
  for k in (3, _K):
    for allowed in (np.ones((_B, _V + 1), bool), _allowed(rng)):
      ids, scores, _ = index.search(query, k, ItemMask.of(allowed))
      _assert_lists(ids, scores, _possible(allowed), all_of_them=True)


@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
def test_baselines(seed):
  rng = np.random.default_rng(seed)
  popular = MostPopular(rng.integers(0, 3, _V + 1))
  similar = rng.integers(0, 3, (_V + 1, _V + 1)).astype(float)
  neighbours = ItemKNN(sparse.csr_array(similar), 2, 0.5, _V, 0.0)
  for allowed in (np.ones((_B, _V + 1), bool), _allowed(rng)):
    for baseline in (popular, neighbours):
      ids, scores, _ = baseline.search(_requests(), _K, ItemMask.of(allowed))
      _assert_lists(ids, scores, _possible(allowed), all_of_them=True)


class _Scorer(CandidateScorer):
  """Probabilities of one task, by item."""

  def __init__(self, value_V1):
    super().__init__(None, lambda batch: batch, None, None, micro_batch=1)
    object.__setattr__(self, "value_V1", value_V1)

  def score(self, request):
    return self.value_V1[request.candidates[0]][:, None]


@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
def test_a_ranker_behind_a_retriever(seed):
  rng = np.random.default_rng(seed)
  popular = MostPopular(np.arange(_V + 1)).search
  wrong = rng.random(_V + 1) < 0.3
  value_V1 = rng.integers(0, 3, _V + 1).astype(np.float32)
  value_V1[wrong] = rng.choice([np.nan, -np.inf], int(wrong.sum()))
  value = ValueFunction.of(("like",))
  search = TwoStage(popular, _Scorer(value_V1), value, _V, _V)
  allowed = _allowed(rng)
  ids, scores, _ = search(_requests(), _K, ItemMask.of(allowed))
  possible = _possible(allowed) & ~wrong[None]
  _assert_lists(ids, scores, possible, all_of_them=True)
