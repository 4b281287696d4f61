# SPDX-License-Identifier: Apache-2.0
"""Unseen items by prefix: ranked by it, capped at every rank, none invalid."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import numpy as np
import pytest

from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.prefix_match import prefix_match, quotas
from tests.decoding import cases

_DEPTH, _K = 2, 40


@functools.partial(jax.jit, static_argnums=(2, 5, 6))
def _match(decoder, trie, num_beams, seen, unseen, depth, share):
  bits = pack(trie, seen), pack(trie, unseen)
  return prefix_match(decoder, trie, num_beams, *bits, depth=depth, share=share)


def _prefix_scores(case):
  """log p of the first codes alone, (B, V1)."""
  short = np.array(case.codes)
  whole = case.scores()
  first = cases.Case(
    short[:, :_DEPTH],
    case.live,
    _Sizes(case.trie.level_sizes[:_DEPTH]),
    case.decoder,
    case.allowed,
  ).scores()
  return np.where(whole > -np.inf, first, -np.inf)


class _Sizes:
  def __init__(self, level_sizes):
    self.level_sizes = level_sizes


def test_a_share_is_the_number_that_is_written():
  # float32 is 3e-5 apart at 300 places, and .29 * 100 below 29 in any binary.
  ranks = np.arange(1, 1_001)
  for percent in range(101):
    expected = percent * ranks // 100
    np.testing.assert_array_equal(quotas(percent / 100, 1_000), expected)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), cold_share=st.sampled_from([0.0, 0.3, 1.0]))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_both_kinds_come_in_their_order_and_in_their_share(
  seed, cold_share, share
):
  case = cases.make(seed, 0)
  rng = np.random.default_rng(seed)
  cold = rng.random(len(case.codes)) < cold_share
  found = _match(
    case.decoder, case.trie, _K, case.allowed & ~cold[None],
    case.allowed & cold[None], _DEPTH, share,
  )  # fmt: skip
  ids, scores, codes = map(np.asarray, found)
  expected, by_prefix = case.scores(case.allowed), _prefix_scores(case)
  for b in range(len(ids)):
    there = np.flatnonzero(ids[b])
    assert there.tolist() == list(range(len(there)))
    assert (expected[b, ids[b, there]] > -np.inf).all()
    np.testing.assert_array_equal(codes[b, there], case.codes[ids[b, there]])
    np.testing.assert_array_equal(scores[b, there], -(there + 1.0))
    assert (scores[b, ids[b] == 0] == -np.inf).all()
    is_cold = cold[ids[b]] & (ids[b] > 0)
    ranks = np.arange(1, _K + 1)
    known, new = ids[b, there][~is_cold[there]], ids[b, is_cold]
    possible = np.flatnonzero((expected[b] > -np.inf) & ~cold)
    assert set(known) == set(possible)
    # The share holds up to the last seen item; then the others follow.
    last = np.max(ranks, where=~is_cold & (ids[b] > 0), initial=0)
    assert (np.cumsum(is_cold) <= share * ranks + 1e-6)[:last].all()
    values = expected[b, known]
    assert (np.diff(values) <= 2e-6).all()
    # The unseen ones are those of the best prefixes.
    others = np.flatnonzero((expected[b] > -np.inf) & cold)
    assert len(new) == len(others)
    best = np.sort(by_prefix[b, others])[::-1]
    np.testing.assert_allclose(by_prefix[b, new], best, atol=3e-6)


@pytest.mark.parametrize(("depth", "share"), [(0, 0.1), (4, 0.1), (2, 1.5)])
def test_what_is_out_of_range_is_an_error(depth, share):
  case = cases.make(0, 0)
  with pytest.raises(ValueError, match="must lie in 1..3 and share"):
    _match(case.decoder, case.trie, 4, case.allowed, case.allowed, depth, share)
