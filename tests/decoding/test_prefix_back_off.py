# SPDX-License-Identifier: Apache-2.0
"""Back-off to prefixes against an enumeration; every list is full."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import numpy as np
import pytest

from genrec_jax.decoding.beam import beam_leaves
from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.prefix_back_off import prefix_back_off
from tests.decoding import cases

_R = 20


@functools.partial(jax.jit, static_argnums=(2,))
def _search(decoder, trie, num_beams, allowed):
  bits = pack(trie, allowed)
  beams = beam_leaves(decoder, trie, num_beams, bits)
  found = prefix_back_off(decoder, trie, num_beams, _R, bits)
  return found, beams.codes_BKM, beams.scores_BK


def _expected(case, b, beams, scores):
  """Ids in order: by depth, then beam, then codes and id.

  Items of the beams themselves: by score, then id.
  """
  order = sorted(
    np.flatnonzero(case.live & case.allowed[b]),
    key=lambda i: (*case.codes[i], i),
  )
  score = dict(zip(beams, scores, strict=True))
  codes = [tuple(c) for c in case.codes.tolist()]
  of_beams = [i for i in order if codes[i] in score]
  listed = sorted(of_beams, key=lambda i: (-score[codes[i]], i))
  for depth in range(case.codes.shape[1] - 1, -1, -1):
    for beam in beams if depth else [()]:
      listed += [
        i
        for i in order
        if i not in listed and tuple(case.codes[i][:depth]) == beam[:depth]
      ]
  return listed[:_R]


def _shared(codes, beam):
  """Codes of the beginning that are the same."""
  same = [a == b for a, b in zip(codes, beam, strict=True)]
  return same.index(False) if False in same else len(same)


@pytest.mark.parametrize(
  "shape", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))]
)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), num_beams=st.sampled_from([1, 3]))
def test_equals_an_enumeration(shape, seed, num_beams):
  case = cases.make(seed, shape)
  found, beam_codes, beam_scores = _search(
    case.decoder, case.trie, num_beams, case.allowed
  )
  ids, scores, codes, depths = map(np.asarray, found)
  for b in range(len(ids)):
    live = np.asarray(beam_scores[b]) > -np.inf
    beams = [tuple(c) for c in np.asarray(beam_codes[b])[live].tolist()]
    expected = _expected(case, b, beams, np.asarray(beam_scores[b])[live])
    count = len(expected)
    # Nothing that may be had is missing while there is a place for it.
    assert count == min(_R, int((case.live & case.allowed[b]).sum()))
    assert ids[b, :count].tolist() == expected
    assert not ids[b, count:].any() and not codes[b, count:].any()
    np.testing.assert_array_equal(codes[b, :count], case.codes[expected])
    np.testing.assert_array_equal(scores[b, :count], -np.arange(1.0, count + 1))
    assert (scores[b, count:] == -np.inf).all()
    assert depths[b, :count].tolist() == [
      max(_shared(tuple(case.codes[i].tolist()), beam) for beam in beams)
      for i in expected
    ]
    assert (depths[b, count:] == -1).all()
