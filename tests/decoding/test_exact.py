# SPDX-License-Identifier: Apache-2.0
"""Scoring the catalogue through the trie is an enumeration, in any chunks."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import numpy as np
import pytest

from genrec_jax.decoding.exact import exact_scores, exact_search
from genrec_jax.decoding.item_bits import pack
from tests.decoding import cases

_scores = jax.jit(exact_scores, static_argnums=2)


@functools.partial(jax.jit, static_argnums=2)
def _search(decoder, trie, k, allowed_BV1):
  return exact_search(decoder, trie, k, pack(trie, allowed_BV1), chunk=4)


# 1 and 3: chunks that end within a parent's children; 64: all at once.
@settings(max_examples=12)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize(
  ("shape", "chunk"),
  [
    (0, 3),
    pytest.param(0, 1, marks=pytest.mark.slow),
    pytest.param(1, 2, marks=pytest.mark.slow),
    pytest.param(2, 4, marks=pytest.mark.slow),
    pytest.param(2, 64, marks=pytest.mark.slow),
  ],
)
def test_scores_are_those_of_the_enumeration(seed, shape, chunk):
  case = cases.make(seed, shape)
  scores = _scores(case.decoder, case.trie, chunk)
  expected = case.scores()
  np.testing.assert_array_equal(
    np.asarray(scores) == -np.inf, expected == -np.inf
  )
  np.testing.assert_allclose(scores, expected, rtol=2e-6, atol=2e-6)


@settings(max_examples=12)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize("k", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_search_returns_the_best_allowed(seed, k):
  case = cases.make(seed, 0)
  found = _search(case.decoder, case.trie, k, case.allowed)
  cases.assert_best(case, *found, case.scores(case.allowed))


def test_every_prefix_is_read_once():
  case = cases.make(3, 2)
  stepped = []

  class Counting(cases.HashDecoder):
    def step(self, cache, level, codes_BK, parents_BK):
      jax.debug.callback(lambda: stepped.append(codes_BK.shape[1]))
      return super().step(cache, level, codes_BK, parents_BK)

  decoder = Counting(case.decoder.request_B, case.trie.level_sizes)
  trie = case.trie.build(case.codes, case.trie.level_sizes, case.live)
  jax.block_until_ready(jax.jit(lambda t: exact_scores(decoder, t, 8))(trie))
  jax.effects_barrier()
  # A chunk is not full where a parent's chunk ends: at most twice as many.
  states = trie.sizes.states[:-1]
  assert sum(states) <= sum(stepped) <= 2 * (sum(states) + 8 * len(states))


def test_a_chunk_holds_a_state():
  case = cases.make(0, 0)
  with pytest.raises(ValueError, match="at least 1 state"):
    exact_scores(case.decoder, case.trie, 0)
