# SPDX-License-Identifier: Apache-2.0
"""Codes, vectors and settings that the benches of searches are made of."""

import importlib.util

import numpy as np
import pytest

from genrec_jax.bench import clusters, fused_search, resampled
from genrec_jax.decoding.trie import Trie
from genrec_jax.retrieval import tuning
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.cluster_index import ClusterIndex
from genrec_jax.retrieval.scann import Scann
from genrec_jax.retrieval.strategy import SearchItems

_SCANN = pytest.mark.skipif(
  importlib.util.find_spec("scann") is None, reason="needs the extra `scann`"
)


def test_codes_are_shared_as_those_of_real_items_are():
  codes = fused_search.shared_codes(12_101, (32, 32, 32))
  assert codes.shape == (12_102, 3) and not codes[0].any()
  assert codes.min() == 0 and (codes.max(axis=0) == 31).all()
  ids, counts = np.unique(codes[1:], axis=0, return_counts=True)
  assert 4_500 < len(ids) < 7_500 and 30 < counts.max() < 90


def test_noise_parts_items_as_their_neighbours_were_parted():
  draw = np.random.default_rng(0)
  # Pairs that differ by 3 along the first axis, far from all others.
  pairs = 100 * draw.normal(size=(40, 4))
  known = np.concatenate([pairs, pairs + [[3, 0, 0, 0]]]).astype(np.float32)
  noise = resampled.neighbour_noise(known, draw)
  np.testing.assert_allclose(noise, [3 / 2**0.5, 0, 0, 0], atol=1e-3)
  made = resampled._drawn(known, noise, False, 4_000, draw)
  apart = made[:, None] - known[None]
  nearest = np.abs(apart[..., 1:]).sum(axis=2).min(axis=1)
  assert nearest.max() < 0.01  # None moved along another axis.
  unit = resampled._drawn(known, noise, True, 50, draw)
  np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)


def test_the_nearest_clusters_are_those_of_the_nearest_means():
  draw = np.random.default_rng(0)
  items = draw.normal(size=(61, 4)).astype(np.float32)
  codes = draw.integers(0, 3, (61, 2)).astype(np.int32)
  trie = Trie.build(codes, (3, 3))
  index = ClusterIndex.build(SearchItems(trie, None, items))
  query = draw.normal(size=(5, 4)).astype(np.float32)
  leaves = clusters.nearest_clusters(index, query, 9)
  unit = items / np.linalg.norm(items, axis=1, keepdims=True)
  for row, found in enumerate(leaves):
    cosines = []
    for leaf in found:
      mine = [int(trie.code[0][trie.parent[1][leaf]]), int(trie.code[1][leaf])]
      same = (codes == mine).all(axis=1)
      same[0] = False
      mean = unit[same].mean(axis=0)
      cosines.append(query[row] @ mean / np.linalg.norm(mean))
    assert len({*found.tolist()}) == 9
    assert (np.diff(cosines) <= 1e-6).all()


def test_recall_is_of_the_exact_lists_items():
  exact = np.array([[1, 2, 3], [4, 5, 0]])
  found = np.array([[3, 9, 1], [4, 0, 0]])
  assert tuning.recall_of(found, exact) == pytest.approx(3 / 5)
  assert tuning.recall_of(found, exact * 0) == 1.0


@_SCANN
def test_tuning_takes_a_setting_that_reaches_the_recall():
  draw = np.random.default_rng(0)
  items = draw.normal(size=(5_001, 16)).astype(np.float32)
  query = draw.normal(size=(40, 16)).astype(np.float32)
  exact = np.asarray(BruteForce.build(items).search(query, 10)[0])
  index = Scann.build(items, tree_above=1_000)
  shares = {}
  for recall in (0.5, 0.95):
    chosen, trials = tuning.tuned(index, query, exact, recall)
    ids, scores, _ = chosen.search(query, 10)
    assert tuning.recall_of(ids, exact) >= recall
    products = np.einsum("bd,bkd->bk", query, items[ids])
    np.testing.assert_allclose(scores, products, rtol=1e-4, atol=1e-4)
    shares[recall] = min(t.leaf_share for t in trials if t.recall >= recall)
  # A setting is of the search: less care finds less.
  assert shares[0.5] < shares[0.95]
  few = index.with_setting(0.03, 4).search(query, 10)[0]
  assert tuning.recall_of(few, exact) < 0.7
  with pytest.raises(ValueError, match="must be above 0"):
    tuning.tuned(index, query, exact, 1.5)
  with pytest.raises(ValueError, match="Ask for less, or search by brute fo"):
    tuning.tuned(index, query, exact + 6_000, 0.9)
