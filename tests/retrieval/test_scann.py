# SPDX-License-Identifier: Apache-2.0
"""ScaNN against brute force: recall, masks, fills, exact scores."""

import sys

import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.scann import Scann

pytest.importorskip("scann", reason="ScaNN is published for Linux x86-64 only")


def _vectors(kind: str, count: int, seed: int = 0) -> np.ndarray:
  rng = np.random.default_rng(seed)
  noise = rng.normal(size=(count, 32))
  if kind == "random":
    return noise.astype(np.float32)
  centres = np.random.default_rng(9).normal(size=(40, 32))
  return (centres[rng.integers(0, 40, count)] + 0.3 * noise).astype(np.float32)


def _recall(ids: np.ndarray, exact: np.ndarray) -> float:
  hits = [
    len(set(a) & set(b)) for a, b in zip(ids.tolist(), exact.tolist(),
                                         strict=True)
  ]  # fmt: skip
  return sum(hits) / exact.size


@pytest.mark.parametrize(
  ("kind", "tree_above"),
  [("random", 10_000), ("clustered", 10_000), ("clustered", 1_000)],
)
def test_recall_and_scores(kind, tree_above):
  items = _vectors(kind, 4_001)
  query = _vectors(kind, 100, seed=1)
  exact = np.asarray(BruteForce.build(items).search(query, 10)[0])
  ids, scores, _ = Scann.build(items, tree_above=tree_above).search(query, 10)
  assert _recall(ids, exact) >= 0.95
  products = np.einsum("bd,bkd->bk", query, items[ids])
  np.testing.assert_allclose(scores, products, rtol=1e-4, atol=1e-4)
  assert (np.diff(scores, axis=1) <= 0).all()


def test_masks_hide_items_and_keep_recall():
  items = _vectors("clustered", 4_001)
  query = _vectors("clustered", 50, seed=1)
  best = np.asarray(BruteForce.build(items).search(query, 300)[0])
  allowed = np.ones((50, 4_001), bool)
  # Hide most of what each query wants, as a long history does.
  np.put_along_axis(allowed, best[:, :250], False, axis=1)
  exact = np.asarray(
    BruteForce.build(items).search(query, 10, ItemMask.of(allowed))[0]
  )
  ids, _, aux = Scann.build(items).search(query, 10, ItemMask.of(allowed))
  assert np.take_along_axis(allowed, ids, axis=1).all()
  assert _recall(ids, exact) >= 0.95
  assert aux == {"exact_rows": 0}


@pytest.mark.parametrize("count", [31, 2_001])
def test_short_lists_are_completed_exactly(count):
  items = _vectors("clustered", count)
  query = _vectors("clustered", 4, seed=1)
  allowed = np.zeros((4, count), bool)
  allowed[:, 0] = True  # The pad row is never an item.
  allowed[1, 5:9] = True
  allowed[2, :] = True
  index = Scann.build(items, max_fetch=20)
  ids, scores, aux = index.search(query, 12, ItemMask.of(allowed))
  expected = BruteForce.build(items).search(query, 12, ItemMask.of(allowed))
  np.testing.assert_array_equal(ids[:2], np.asarray(expected[0])[:2])
  np.testing.assert_allclose(scores[:2], expected[1][:2], rtol=1e-4, atol=1e-4)
  assert (ids[2] > 0).all()
  # Of 30 items the 4 allowed ones are among the 20 fetched.
  assert aux["exact_rows"] == (count > 1_000)


def test_rows_that_allow_nothing_have_no_further_places_fetched():
  items = _vectors("random", 501)
  asked = []

  class Searcher:
    def search_batched_parallel(self, query, final_num_neighbors, **options):
      asked.append(final_num_neighbors)
      scores = query @ items[1:].T
      rows = np.argsort(-scores, axis=1)[:, :final_num_neighbors]
      return rows, np.take_along_axis(scores, rows, axis=1)

  query = _vectors("random", 3, seed=1)
  # One request of a batch of three, with a history of five.
  mask = ItemMask.all_but([np.arange(1, 6)], 500).padded(3)
  ids, scores, aux = Scann(Searcher(), items[1:], 400).search(query, 10, mask)
  assert asked == [15] and aux == {"exact_rows": 0}
  expected = BruteForce.build(items).search(query, 10, mask)[0]
  np.testing.assert_array_equal(ids, expected)
  assert not ids[1:].any() and (scores[1:] == -np.inf).all()


def test_small_catalogue_is_exact_with_ties_in_index_order():
  items = _vectors("random", 301)
  items[100:200] = items[1:101]
  query = _vectors("random", 20, seed=1)
  for k in (7, 400):
    ids, scores, _ = Scann.build(items).search(query, k)
    expected = BruteForce.build(items).search(query, k)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-4, atol=1e-4)


def test_bad_input_is_named():
  items = _vectors("random", 20)
  with pytest.raises(ValueError, match="width 3"):
    Scann.build(items).search(np.ones((1, 3), np.float32), 1)
  with pytest.raises(ValueError, match="1 requests and 6 items"):
    Scann.build(items).search(items[:1], 1, ItemMask.of(np.ones((1, 7), bool)))
  with pytest.raises(ValueError, match="at least one item"):
    Scann.build(items[:1])
  items[4] = np.nan
  with pytest.raises(ValueError, match="item index 4"):
    Scann.build(items)


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
  for name in [n for n in sys.modules if n.split(".")[0] == "scann"]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, "scann", None)
  with pytest.raises(ImportError, match="pip install"):
    Scann.build(_vectors("random", 20))
