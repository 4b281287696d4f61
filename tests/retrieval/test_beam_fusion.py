# SPDX-License-Identifier: Apache-2.0
"""Fused search against every pair of codes and item, one by one."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.option_checks import check_counts, check_scales
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.beam import Beams
from genrec_jax.retrieval.beam_fusion import BeamFusion
from genrec_jax.retrieval.strategy import (
  BoundModel,
  SearchItems,
  best_of_each,
)
from tests.decoding import cases

_WIDTH = 3


def _query(hashes, xp):
  """A vector of eighths for every hash; never 0."""
  place = xp.arange(_WIDTH, dtype=xp.uint32) + xp.uint32(100)
  place = place.reshape((1,) * hashes.ndim + (_WIDTH,))
  mixed = cases._mix(hashes[..., None], place, xp) % xp.uint32(8)
  return mixed.astype(xp.float32) / 8 - 1


def _apply(level_sizes, *args, method):
  """The toy model's methods, as Linen's apply finds them."""
  if method == "start_from":
    return cases.HashDecoder(args[0]["request"], level_sizes).start()
  if method == "step":
    return cases.HashDecoder(None, level_sizes).step(*args)
  assert method == "beam_vectors"
  cache_BK, codes_BK, parents_BK = args
  hash_BK = jnp.take_along_axis(cache_BK, parents_BK, axis=1)
  hash_BK = cases._mix(hash_BK, codes_BK.astype(jnp.uint32) + 1, jnp)
  return _query(hash_BK, jnp)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(strategy, level_sizes, request_B, items, allowed_BW):
  apply = functools.partial(_apply, level_sizes)
  model = BoundModel(apply, {"request": request_B})
  return strategy(model, items, allowed_BW)


def _found(strategy, case, vectors, masked=True):
  items = SearchItems(
    case.trie, jnp.zeros(len(case.codes), bool), jnp.asarray(vectors)
  )
  allowed = ItemMask.of(case.allowed).words_BW if masked else None
  found = _search(
    strategy, case.trie.level_sizes, case.decoder.request_B, items, allowed
  )
  return [np.asarray(x) for x in found]


def _vectors(case, seed):
  draw = np.random.default_rng(seed)
  return draw.normal(size=(len(case.codes), _WIDTH)).astype(np.float32)


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _expected(case, vectors, strategy):
  """Log-scores of every item, (B, V1): all IDs, all pairs, in float64."""
  log_p = case.scores(case.allowed)
  scores = np.full_like(log_p, -np.inf)
  requests = np.asarray(case.decoder.request_B)
  for row, request in enumerate(requests):
    groups = {}
    for item in np.flatnonzero(log_p[row] > -np.inf):
      groups.setdefault(tuple(case.codes[item]), []).append(item)
    total = np.logaddexp.reduce(
      [strategy.beam_scale * log_p[row, g[0]] for g in groups.values()]
    )
    for codes, group in groups.items():
      hashes = cases._mix(request, np.uint32([7]), np)
      for code in codes:
        hashes = cases._mix(hashes, np.uint32([code + 1]), np)
      query = _unit(_query(hashes, np)[0].astype(np.float64))
      cosines = strategy.vector_scale * (_unit(vectors[group]) @ query)
      beam = strategy.beam_scale * log_p[row, group[0]] - total
      scores[row, group] = beam + cosines - np.logaddexp.reduce(cosines)
  return scores


def _assert_lists(case, strategy, found, expected):
  ids, scores, codes = found
  for row, want in enumerate(expected):
    count = min((want > -np.inf).sum(), strategy.num_results)
    assert (ids[row, :count] > 0).all() and not ids[row, count:].any()
    assert (scores[row, count:] == -np.inf).all()
    assert len({*ids[row, :count]}) == count
    np.testing.assert_allclose(
      scores[row, :count], np.sort(want)[::-1][:count], atol=1e-4
    )
    np.testing.assert_allclose(
      scores[row, :count], want[ids[row, :count]], atol=1e-4
    )
    np.testing.assert_array_equal(
      codes[row, :count], case.codes[ids[row, :count]]
    )


@pytest.mark.parametrize(
  ("shape", "beam_scale"), [(0, 0.9), (1, 0.9), (0, 0.0)]
)
def test_all_beams_and_all_neighbours_are_every_pair(shape, beam_scale):
  strategy = BeamFusion(25, 25, 25, beam_scale, vector_scale=4.0)
  for seed in range(6):
    case = cases.make(seed, shape)
    vectors = _vectors(case, seed)
    found = _found(strategy, case, vectors)
    _assert_lists(case, strategy, found, _expected(case, vectors, strategy))


def _toy():
  """Two beams: items 1, 2, 3 under the first codes, 4 and 5 under others."""
  case = cases.make(0, 0)
  codes = np.array([[0, 0, 0]] * 4 + [[1, 0, 0]] * 2, np.int32)
  live = np.array([False] + [True] * 5)
  trie = cases.Trie.build(codes, (3, 4, 2), live)
  allowed = np.ones((3, 6), bool)
  return cases.Case(codes, live, trie, case.decoder, allowed)


def _fused(case, strategy, scores, query, vectors):
  batch = len(scores)
  leaves = np.broadcast_to(np.arange(2, dtype=np.int32), (batch, 2))
  codes = np.broadcast_to(case.codes[[1, 4]], (batch, 2, 3))
  leaves, scores, codes = map(jnp.asarray, (leaves, scores, codes))
  beams = Beams(leaves, scores, codes, None, jnp.zeros_like(leaves))
  return [
    np.asarray(x)
    for x in strategy.fused(
      case.trie, beams, jnp.asarray(query), jnp.asarray(vectors), None
    )
  ]


def test_limits_of_both_scales():
  case, vectors = _toy(), _vectors(_toy(), 1)
  scores = np.log(np.array([[0.9, 0.1], [0.4, 0.6]], np.float32))
  query = np.ones((2, 2, _WIDTH), np.float32)
  strategy = BeamFusion(num_results=5, num_beams=2, num_neighbors=3)

  def fused(**changes):
    changed = dataclasses.replace(strategy, **changes)
    return _fused(case, changed, scores, query, vectors)

  # Beams alike: an item's score is its share of its own beam alone.
  _, found, _ = fused(beam_scale=0.0, vector_scale=0.0)
  np.testing.assert_allclose(
    np.exp(found), [[1 / 4] * 2 + [1 / 6] * 3] * 2, rtol=1e-5
  )
  # The best beam's items come before all others.
  ids, _, _ = fused(beam_scale=1e3)
  assert {*ids[0, :3]} == {1, 2, 3} and {*ids[1, :2]} == {4, 5}
  # Cosines do not count: items of a beam are alike, in order of id.
  ids, found, _ = fused(vector_scale=0.0, beam_scale=1.0)
  np.testing.assert_array_equal(ids, [[1, 2, 3, 4, 5], [4, 5, 1, 2, 3]])
  np.testing.assert_allclose(
    np.exp(found[0]), [0.3, 0.3, 0.3, 0.05, 0.05], rtol=1e-5
  )
  # The nearer item of a beam comes first.
  cosines = _unit(vectors) @ _unit(np.ones(_WIDTH))
  ids, _, _ = fused(vector_scale=1.0)
  for row in ids:
    for group in ([1, 2, 3], [4, 5]):
      order = [i for i in row if i in group]
      assert order == sorted(group, key=lambda i: -cosines[i])


def test_the_softmax_over_a_cluster_counts_what_is_not_kept():
  case, vectors = _toy(), _vectors(_toy(), 1)
  scores = np.zeros((1, 2), np.float32)
  query = np.ones((1, 2, _WIDTH), np.float32)
  totals = {}
  for over in ("neighbors", "cluster"):
    strategy = BeamFusion(
      num_results=5,
      num_beams=2,
      num_neighbors=2,
      beam_scale=0.0,
      vector_scale=1.0,
      over=over,
    )
    ids, found, _ = _fused(case, strategy, scores, query, vectors)
    assert (ids[0] > 0).sum() == 4
    totals[over] = np.exp(found[0, :4]).sum()
  np.testing.assert_allclose(totals["neighbors"], 1, rtol=1e-5)
  assert totals["cluster"] < 1 - 1e-4


def test_an_item_that_two_beams_find_keeps_its_best_score():
  ids = jnp.array([[4, 2, 4, 0, 2, 7]])
  scores = jnp.array([[0.1, 0.5, 0.3, 0.9, 0.2, -jnp.inf]])
  beams = jnp.array([[0, 0, 1, 1, 2, 2]])
  ids, scores, beams = map(np.asarray, best_of_each(ids, scores, beams))
  kept = scores[0] > -np.inf
  np.testing.assert_array_equal(ids[0][kept], [2, 4])
  np.testing.assert_allclose(scores[0][kept], [0.5, 0.3])
  np.testing.assert_array_equal(beams[0][kept], [0, 1])


def test_a_mask_that_leaves_nothing_gives_no_item():
  case = cases.make(1, 0)
  case = dataclasses.replace(case, allowed=np.zeros_like(case.allowed))
  ids, scores, codes = _found(BeamFusion(4, 3, 3), case, _vectors(case, 0))
  assert not ids.any() and (scores == -np.inf).all() and not codes.any()


def test_codes_of_no_item_are_never_returned():
  case = cases.make(2, 0)
  # Items of the first codes that are live all go.
  codes = case.codes[np.flatnonzero(case.live)[0]]
  gone = (case.codes == codes).all(axis=1)
  live = case.live & ~gone
  trie = cases.Trie.build(case.codes, case.trie.level_sizes, live)
  case = dataclasses.replace(
    case, live=live, trie=trie, allowed=np.ones_like(case.allowed)
  )
  ids, _, found = _found(BeamFusion(25, 25, 25), case, _vectors(case, 0))
  there = ids > 0
  assert there.sum(axis=1).tolist() == [live.sum()] * 3
  assert not (found[there] == codes).all(axis=1).any()


def test_more_neighbours_than_a_cluster_holds_are_those_it_holds():
  case, vectors = _toy(), _vectors(_toy(), 1)
  scores, query = np.zeros((1, 2), np.float32), np.ones((1, 2, _WIDTH))
  held = BeamFusion(num_results=9, num_beams=2, num_neighbors=3)
  more = dataclasses.replace(held, num_neighbors=500)
  for a, b in zip(
    _fused(case, held, scores, query, vectors),
    _fused(case, more, scores, query, vectors),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  ids = _fused(case, more, scores, query, vectors)[0]
  assert sorted(ids[0].tolist()) == [0] * 4 + [1, 2, 3, 4, 5]


def test_what_cannot_be_is_refused():
  for change in (
    *({"num_beams": 0}, {"num_results": True}, {"max_cluster": -4}),
    *({"beam_scale": -1.0}, {"vector_scale": float("nan")}, {"over": "all"}),
  ):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"config.retrieval.{name}={value!r} "):
      BeamFusion(**change)
  # Types are checked here before a class sees them, and not where it is used.
  for check, value in (
    *((check_counts, 2.5), (check_counts, "5"), (check_counts, None)),
    *((check_scales, "16"), (check_scales, None), (check_scales, False)),
  ):
    with pytest.raises(ValueError, match=f"config.retrieval.x={value!r} must"):
      check(types.SimpleNamespace(x=value), "config.retrieval", "x")
  case = _toy()
  with pytest.raises(ValueError, match="3 items share all their codes"):
    _found(BeamFusion(max_cluster=2), case, _vectors(case, 0))
