# SPDX-License-Identifier: Apache-2.0
"""Probabilities over children: of all items 1, and searches find the best."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import numpy as np
import pytest

from genrec_jax.core import seams
from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.exact import exact_scores
from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.over_children import ChildrenDecoder
from genrec_jax.retrieval import Beam, BeamFusion, OverChildren
from tests.decoding import cases


@jax.jit
def _scores(decoder, trie):
  return exact_scores(ChildrenDecoder(decoder, trie), trie, 4)


@functools.partial(jax.jit, static_argnums=2)
def _search(decoder, trie, k, allowed_BV1):
  bits = pack(trie, allowed_BV1)
  return beam_search(ChildrenDecoder(decoder, trie), trie, k, bits)


def _by_hand(case):
  """Log-probabilities by enumeration of the children of every prefix."""
  requests = np.asarray(case.decoder.request_B)
  live = case.codes[case.live]
  scores = np.full((len(requests), len(case.codes)), -np.inf)
  for item in np.flatnonzero(case.live):
    hashes = cases._mix(requests, np.full_like(requests, 7), np)
    total = np.zeros(len(requests))
    for level, code in enumerate(case.codes[item]):
      under = (live[:, :level] == case.codes[item][None, :level]).all(axis=1)
      there = np.unique(live[under, level])
      size = case.trie.level_sizes[level]
      logits = cases._logits(hashes, size, np).astype(np.float64)
      total += logits[:, code] - np.log(np.exp(logits[:, there]).sum(axis=1))
      hashes = cases._mix(hashes, np.full_like(hashes, code + 1), np)
    scores[:, item] = total
  return scores


# Shape 0 has one dense level, 1 none, 2 two.
@settings(max_examples=12)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize(
  "shape", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_scores_are_those_of_the_enumeration(seed, shape):
  case = cases.make(seed, shape)
  scores = np.asarray(_scores(case.decoder, case.trie), np.float64)
  np.testing.assert_allclose(scores, _by_hand(case), rtol=2e-6, atol=2e-6)
  if case.live.any():
    # Items that share all codes share one probability.
    _, first = np.unique(case.codes[case.live], axis=0, return_index=True)
    leaves = np.flatnonzero(case.live)[first]
    total = np.exp(scores[:, leaves]).sum(axis=1)
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


@settings(max_examples=12)
@given(seed=st.integers(0, 100_000))
def test_as_many_beams_as_items_rank_all_and_a_mask_changes_no_score(seed):
  case = cases.make(seed, 0)
  found = _search(case.decoder, case.trie, 14, case.allowed)
  expected = np.where(case.allowed, _by_hand(case), -np.inf)
  cases.assert_best(case, *found, expected)


def test_only_searches_of_a_decoder_alone_are_taken():
  search = OverChildren(Beam(8))
  assert search.num_results == 8 and search.needs == (seams.DecoderModel,)
  assert search.widened(20) == OverChildren(Beam(20))
  with pytest.raises(ValueError, match="BeamFusion needs"):
    OverChildren(BeamFusion())
