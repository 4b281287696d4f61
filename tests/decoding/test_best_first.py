# SPDX-License-Identifier: Apache-2.0
"""Best-first search finds what exact scoring finds, or says it did not."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.best_first import best_first_search
from genrec_jax.decoding.item_bits import pack
from tests.decoding import cases


@functools.partial(jax.jit, static_argnames=("k", "budget", "width", "greedy"))
def _search(decoder, trie, allowed_BV1, **options):
  bits = pack(trie, allowed_BV1)
  return best_first_search(decoder, trie, allowed=bits, **options)


@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize(
  ("shape", "k", "width"),
  [
    (2, 5, 2),
    pytest.param(0, 4, 1, marks=pytest.mark.slow),
    pytest.param(0, 20, 3, marks=pytest.mark.slow),
    pytest.param(1, 3, 1, marks=pytest.mark.slow),
  ],
)
def test_the_search_is_exact(seed, shape, k, width):
  case = cases.make(seed, shape)
  # As many rounds as there are prefixes at most.
  found = _search(
    case.decoder, case.trie, case.allowed, k=k, budget=60, width=width
  )
  assert found.exact_B.all()
  cases.assert_best(case, *found[:3], case.scores(case.allowed))


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize(
  "greedy", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_small_budget_is_reported(seed, greedy):
  case = cases.make(seed, 0)
  expected = case.scores(case.allowed)
  ids, scores, codes, exact_B, rounds_B = _search(
    case.decoder, case.trie, case.allowed, k=4, budget=2, greedy=greedy
  )
  assert (np.asarray(rounds_B) <= 2).all()
  for b in range(len(expected)):
    one = (ids[b : b + 1], scores[b : b + 1], codes[b : b + 1])
    if exact_B[b]:
      cases.assert_best(case, *one, expected[b : b + 1])
    # Certain or not, what is returned is allowed and scored right.
    there = np.asarray(ids[b]) > 0
    found = np.asarray(ids[b])[there]
    assert (expected[b, found] > -np.inf).all()
    np.testing.assert_allclose(
      np.asarray(scores[b])[there], expected[b, found], rtol=2e-6, atol=2e-6
    )


@pytest.mark.slow
def test_a_certain_model_needs_few_rounds_and_greedy_fewer():
  case = cases.make(7, 0, batch=8)
  everything = jnp.ones_like(case.allowed)
  options = {"k": 3, "budget": 60}
  whole = _search(case.decoder, case.trie, everything, **options)
  greedy = _search(case.decoder, case.trie, everything, greedy=True, **options)
  assert (whole.rounds_B >= greedy.rounds_B).all()
  assert (np.asarray(greedy.ids_Bk) > 0).all()
  assert whole.rounds_B.sum() > greedy.rounds_B.sum()
  # A request that is done stands still while others go on.
  assert len(set(np.asarray(whole.rounds_B).tolist())) > 1
  one = cases.HashDecoder(case.decoder.request_B[2:3], case.trie.level_sizes)
  alone = _search(one, case.trie, everything[:1], **options)
  for x, y in zip(whole, alone, strict=True):
    np.testing.assert_array_equal(x[2], y[0])


def test_bad_options():
  case = cases.make(0, 0)
  with pytest.raises(ValueError, match="each is at least 1"):
    best_first_search(case.decoder, case.trie, 0, budget=5)
