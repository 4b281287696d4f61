# SPDX-License-Identifier: Apache-2.0
"""Without a trie: the best of all lists of codes, and where they leave it."""

import itertools

from hypothesis import given, settings, strategies as st
import jax
import numpy as np
import pytest

from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.unconstrained import unconstrained_search, walk
from tests.decoding import cases

_search = jax.jit(unconstrained_search, static_argnums=2)


def _all_lists(case):
  """Every list of codes as if each were an item."""
  codes = list(itertools.product(*map(range, case.trie.level_sizes)))
  codes = np.array([(0,) * len(codes[0]), *codes], np.int32)
  live = np.arange(len(codes)) > 0
  trie = Trie.build(codes, case.trie.level_sizes, live)
  return cases.Case(codes, live, trie, case.decoder, case.allowed)


@pytest.mark.slow
@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
def test_lists_are_the_best_and_their_depth_is_that_of_the_prefixes(seed):
  case = cases.make(seed, 0)
  found = _search(case.decoder, case.trie, 30)
  expected = _all_lists(case).scores()[:, 1:]
  assert expected.shape[1] == 24
  scores, depths = np.asarray(found.scores_BK), np.asarray(found.depth_BK)
  np.testing.assert_allclose(
    scores[:, :24], np.sort(expected, axis=1)[:, ::-1], rtol=2e-6, atol=2e-6
  )
  assert (scores[:, 24:] == -np.inf).all() and (depths[:, 24:] == -1).all()
  prefixes = {
    tuple(c[:depth].tolist())
    for c in case.codes[case.live]
    for depth in (1, 2, 3)
  }
  for b, codes_KM in enumerate(np.asarray(found.codes_BKM)):
    for codes, depth in zip(codes_KM[:24].tolist(), depths[b], strict=False):
      assert depth == max(
        (m for m in (1, 2, 3) if tuple(codes[:m]) in prefixes), default=0
      )
  invalid, lists = found.invalid()
  assert lists == 24 * len(scores)
  assert invalid.tolist() == [
    int(((depths >= 0) & (depths < m)).sum()) for m in (1, 2, 3)
  ]
  # The valid ones are all the items there are.
  cases.assert_best(case, *found.items(case.trie, 20), case.scores())


@pytest.mark.parametrize("dense", [0, 3])
def test_a_list_that_leaves_the_trie_does_not_come_back(dense):
  codes = np.array([[0, 0, 0], [1, 1, 1], [2, 0, 1]], np.int32)
  trie = Trie.build(codes, (4, 2, 2), dense_levels=dense)
  lists = [[1, 1, 1], [2, 0, 1], [1, 0, 1], [3, 1, 1], [2, 0, 0], [0, 0, 0]]
  states, depth = walk(trie, np.array([lists], np.int32) + jax.numpy.int32(0))
  assert depth.tolist() == [[3, 3, 1, 0, 2, 0]]
  assert trie.codes(states)[0, :2].tolist() == lists[:2]


@pytest.mark.slow
def test_a_narrow_search_keeps_what_the_trie_would_have_cut():
  case = cases.make(11, 2)
  found = _search(case.decoder, case.trie, 5)
  assert (np.asarray(found.depth_BK) < case.trie.num_levels).any()
  ids, _, _ = found.items(case.trie, 5)
  valid_B = (np.asarray(found.depth_BK) == case.trie.num_levels).any(axis=1)
  np.testing.assert_array_equal(np.asarray(ids)[:, 0] > 0, valid_B)
  with pytest.raises(ValueError, match="at least 1"):
    unconstrained_search(case.decoder, case.trie, 0)
