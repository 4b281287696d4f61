# SPDX-License-Identifier: Apache-2.0
"""Clusters searched on the host against the table of clusters in one program.

The table is proved against enumeration in test_beam_fusion.py.
"""

import dataclasses
import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.beam_fusion import BeamFusion
from genrec_jax.retrieval.cluster_index import ClusterIndex, best_columns
from genrec_jax.retrieval.strategy import HostFinish, SearchItems
from tests.decoding import cases
from tests.retrieval import test_beam_fusion as fusion_cases

_SCANN = pytest.mark.skipif(
  importlib.util.find_spec("scann") is None, reason="needs the extra `scann`"
)


def _both(strategy, case, vectors, masked):
  """What the table finds, and what the index on the host finds."""
  in_one = fusion_cases._found(strategy, case, vectors, masked)
  items = SearchItems(
    case.trie, jnp.zeros(len(case.codes), bool), jnp.asarray(vectors)
  )
  index = dataclasses.replace(strategy, clusters="index").on_host(items)
  first, finish = strategy.in_parts(index)
  mask = ItemMask.of(case.allowed) if masked else None
  beams = fusion_cases._search(
    first,
    case.trie.level_sizes,
    case.decoder.request_B,
    items,
    None if mask is None else mask.words_BW,
  )
  return in_one, [np.asarray(x) for x in finish(jax.device_get(beams), mask)]


def _assert_same(in_one, on_host):
  np.testing.assert_array_equal(on_host[0], in_one[0])
  np.testing.assert_allclose(on_host[1], in_one[1], atol=1e-5)
  np.testing.assert_array_equal(on_host[2], in_one[2])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("over", ["neighbors", "cluster"])
@pytest.mark.parametrize("num_neighbors", [2, 25])
def test_the_host_finds_what_the_table_finds(num_neighbors, over, masked):
  for seed in range(4):
    case = cases.make(seed, 0)
    vectors = fusion_cases._vectors(case, seed)
    strategy = BeamFusion(9, 4, num_neighbors, 0.9, 4.0, over)
    _assert_same(*_both(strategy, case, vectors, masked))


@_SCANN
def test_an_index_of_scann_in_each_cluster_finds_what_the_table_finds():
  # ScaNN scores so few items exactly.
  for seed, scale in ((0, 4.0), (1, 0.0)):
    case = cases.make(seed, 0)
    vectors = fusion_cases._vectors(case, seed)
    strategy = BeamFusion(9, 4, 3, 0.9, scale, approximate_above=1)
    for masked in (True, False):
      in_one, on_host = _both(strategy, case, vectors, masked)
      if scale:
        _assert_same(in_one, on_host)
      else:  # Which of equal items it returns is ScaNN's choice.
        np.testing.assert_allclose(on_host[1], in_one[1], atol=1e-5)


def _items(case, vectors):
  cold = jnp.zeros(len(case.codes), bool)
  return SearchItems(case.trie, cold, jnp.asarray(vectors))


def test_the_rule_says_which_is_used(monkeypatch):
  case = fusion_cases._toy()
  items = _items(case, fusion_cases._vectors(case, 0))
  assert isinstance(BeamFusion(), HostFinish)
  assert BeamFusion(max_cluster=3).on_host(items) is None
  assert BeamFusion(max_cluster=2, clusters="table").on_host(items) is None
  for strategy in (
    BeamFusion(max_cluster=2),
    BeamFusion(max_cluster=3, clusters="index"),
  ):
    assert isinstance(strategy.on_host(items), ClusterIndex)
  for count, found in ((128, False), (129, True)):
    trie = cases.Trie.build(np.zeros((count + 1, 1), np.int32), (2,))
    vectors = jnp.ones((count + 1, 3))
    items = SearchItems(trie, jnp.zeros(count + 1, bool), vectors)
    assert (BeamFusion().on_host(items) is not None) == found
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  assert BeamFusion().on_host(items) is None


def test_without_scann_the_error_says_what_to_do(monkeypatch):
  for name in [n for n in sys.modules if n.split(".")[0] == "scann"]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, "scann", None)
  case = fusion_cases._toy()
  items = _items(case, fusion_cases._vectors(case, 0))
  with pytest.raises(ImportError, match="approximate_above=None"):
    BeamFusion(clusters="index", approximate_above=2).on_host(items)
  # Exact, it needs no package.
  assert BeamFusion(clusters="index").on_host(items) is not None


def test_what_cannot_be_is_refused(monkeypatch):
  for change in ({"clusters": "all"}, {"approximate_above": 0}):
    with pytest.raises(ValueError, match=next(iter(change))):
      BeamFusion(**change)
  case = fusion_cases._toy()
  items = _items(case, fusion_cases._vectors(case, 0))
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  assert BeamFusion(max_cluster=2).on_host(items) is None
  with pytest.raises(ValueError, match="there are 2: take 'table'"):
    BeamFusion(clusters="index").on_host(items)


def test_the_best_columns_are_those_of_a_whole_sort():
  draw = np.random.default_rng(0)
  for kind in range(3):
    # Many ties; no ties; most not allowed.
    scores = draw.normal(size=(30, 60)).astype(np.float32)
    if kind == 0:
      scores = np.round(scores)
    if kind == 2:
      scores[draw.random(scores.shape) < 0.9] = -np.inf
    columns = np.broadcast_to(np.arange(60), scores.shape)
    for k in (1, 7, 14, 59, 80):
      want = np.lexsort((columns, -scores), axis=1)[:, :k]
      np.testing.assert_array_equal(best_columns(scores, k), want)
