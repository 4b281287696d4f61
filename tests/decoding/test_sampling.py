# SPDX-License-Identifier: Apache-2.0
"""Draws: never outside the trie or the mask, and with the stated odds."""

import functools

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.sampling import sample_items
from genrec_jax.decoding.trie import Trie
from tests.decoding import cases


@functools.partial(
  jax.jit, static_argnames=("num_samples", "temperature", "top_p")
)
def _sample(decoder, trie, keys_B, allowed_BV1, **options):
  bits = pack(trie, allowed_BV1)
  return sample_items(decoder, trie, keys_B, allowed=bits, **options)


def _keys(seed, batch):
  return jax.random.split(jax.random.key(seed), batch)


@pytest.mark.slow
@settings(max_examples=15)
@given(seed=st.integers(0, 100_000))
@pytest.mark.parametrize(
  ("shape", "top_p"), [(2, 0.7), pytest.param(0, 1.0, marks=pytest.mark.slow)]
)
def test_draws_are_allowed_items_with_their_scores(seed, shape, top_p):
  case = cases.make(seed, shape)
  ids, scores, codes = map(
    np.asarray,
    _sample(
      case.decoder,
      case.trie,
      _keys(seed, 3),
      case.allowed,
      num_samples=20,
      temperature=1.5,
      top_p=top_p,
    ),
  )
  expected = case.scores(case.allowed)
  for b in range(3):
    if not (expected[b] > -np.inf).any():
      assert not ids[b].any() and not codes[b].any()
      assert (scores[b] == -np.inf).all()
      continue
    assert (ids[b] > 0).all()
    np.testing.assert_allclose(
      scores[b], expected[b, ids[b]], rtol=2e-6, atol=2e-6
    )
    np.testing.assert_array_equal(codes[b], case.codes[ids[b]])


def _odds(case, temperatures, top_p):
  """Probability of each item of the first request, by the rule."""
  odds = np.zeros(len(case.codes))
  items = np.flatnonzero(case.live & case.allowed[0])
  single = cases.HashDecoder(case.decoder.request_B[:1], case.trie.level_sizes)

  def visit(level, below, cache, logits, share):
    if level == case.trie.num_levels:
      odds[below] = share / len(below)
      return
    codes = case.codes[below, level]
    children = np.unique(codes)
    weights = np.exp(np.asarray(logits, np.float64) / temperatures[level])
    weights = weights[children] / weights[children].sum()
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    kept = order[before < top_p]
    for j in kept:
      code = jnp.full((1, 1), children[j], jnp.int32)
      deeper, after = None, None
      if level + 1 < case.trie.num_levels:
        deeper, after = single.step(cache, level + 1, code, 0 * code)
        after = after[0, 0]
      visit(
        level + 1,
        below[codes == children[j]],
        deeper,
        after,
        share * weights[j] / weights[kept].sum(),
      )

  cache, logits = single.start()
  visit(0, items, cache, logits[0], 1.0)
  return odds


@pytest.mark.parametrize(
  ("temperature", "top_p"),
  [
    ((3.0, 1.0, 0.5), 0.8),
    pytest.param((1.0, 1.0, 1.0), 1.0, marks=pytest.mark.slow),
  ],
)
def test_the_odds_are_those_of_the_rule(temperature, top_p):
  case = cases.make(21, 0)
  # Two items with all codes alike, one of them not allowed in one request.
  case.codes[1:5] = case.codes[1]
  case.live[1:] = True
  case.allowed[:] = True
  case.allowed[0, 2] = False
  trie = Trie.build(case.codes, case.trie.level_sizes, case.live)
  draws = 40_000
  ids, _, _ = _sample(
    case.decoder,
    trie,
    _keys(0, 3),
    case.allowed,
    num_samples=draws,
    temperature=temperature,
    top_p=top_p,
  )
  expected = _odds(case, temperature, top_p)
  counted = np.bincount(np.asarray(ids[0]), minlength=len(expected)) / draws
  assert expected.sum() == pytest.approx(1)
  # Five standard deviations.
  tolerance = 5 * np.sqrt(expected * (1 - expected) / draws)
  assert (np.abs(counted - expected) <= tolerance).all()
  assert (counted[expected == 0] == 0).all()


@pytest.mark.slow
def test_draws_belong_to_the_request_and_its_key():
  case = cases.make(13, 0)
  keys = _keys(3, 3)
  allowed = jnp.ones_like(case.allowed)
  options = {"num_samples": 12, "temperature": 1.0, "top_p": 0.9}
  together = _sample(case.decoder, case.trie, keys, allowed, **options)
  again = _sample(case.decoder, case.trie, keys, allowed, **options)
  one = cases.HashDecoder(case.decoder.request_B[1:2], case.trie.level_sizes)
  alone = _sample(one, case.trie, keys[1:2], allowed[1:2], **options)
  for x, y, z in zip(together, again, alone, strict=True):
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(x[1], z[0])
  other = _sample(case.decoder, case.trie, _keys(4, 3), allowed, **options)
  assert (np.asarray(other[0]) != np.asarray(together[0])).any()


@pytest.mark.parametrize(
  "options",
  [
    {"temperature": 0.0},
    {"temperature": float("nan")},
    {"temperature": (1.0, 1.0, float("inf"))},
    {"temperature": (1.0, 2.0)},
    {"top_p": 0.0},
    {"top_p": 1.1},
    {"num_samples": 0},
  ],
)
def test_bad_options(options):
  case = cases.make(0, 0)
  options = {"num_samples": 2} | options
  with pytest.raises(ValueError, match="temperature is|top_p is"):
    sample_items(case.decoder, case.trie, _keys(0, 3), **options)
