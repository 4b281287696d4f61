# SPDX-License-Identifier: Apache-2.0
"""Item-kNN against the formula in loops; training part only; the tuning."""

import types

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.baselines import item_knn
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import (
  Requests,
  iter_requests,
  make_requests,
)
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.sources.movielens import MovieLens
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.evaluation.full_ranking import evaluate

_NUM_ITEMS = 8


class _InMemory(Histories):
  """Histories of lists of items."""

  def __init__(self, items, num_items=_NUM_ITEMS):
    self.manifest = types.SimpleNamespace(
      num_items=num_items, num_users=len(items)
    )
    self.split = LeaveOneOut()
    self._items = items

  def __getitem__(self, index):
    return {
      "user": np.array(index, np.int32),
      "item": np.array(self._items[index], np.int32),
    }


def _requests(lists) -> Requests:
  """What comes after each list of items."""
  zeros = np.zeros(len(lists), np.int32)
  history = [
    {"user": np.array(0, np.int32), "item": np.array(items, np.int32)}
    for items in lists
  ]
  return Requests(zeros, zeros, history, zeros, zeros)


def _by_formula(lists, query, *, neighbours, window, decay, shrinkage):
  """Scores of items 0..V in plain Python."""
  train = [items[:-2] if len(items) >= 3 else items for items in lists]
  users = {
    i: {u for u, items in enumerate(train) if i in items}
    for i in range(1, _NUM_ITEMS + 1)
  }
  scores = [0.0] * (_NUM_ITEMS + 1)
  for age, i in enumerate(query[::-1][:window]):
    similar = []
    for j in range(1, _NUM_ITEMS + 1):
      both = len(users[i] & users[j])
      if i != j and both:
        root = (len(users[i]) * len(users[j])) ** 0.5
        similar.append((-both / (root + shrinkage), j))
    for negative, j in sorted(similar)[:neighbours]:
      scores[j] -= decay**age * negative
  return scores


_LISTS = st.lists(st.integers(1, _NUM_ITEMS), min_size=1, max_size=12)


@settings(max_examples=60)
@given(
  st.lists(_LISTS, min_size=1, max_size=15),
  st.lists(_LISTS | st.just([]), min_size=1, max_size=4),
  st.integers(1, _NUM_ITEMS),
  st.integers(1, 14),
  st.sampled_from([1.0, 0.8]),
  st.sampled_from([0.0, 3.0]),
  st.sampled_from([1, 2, 2**24]),
)
def test_equals_the_formula(
  lists, queries, neighbours, window, decay, shrinkage, entries
):
  options = dict(
    neighbours=neighbours, window=window, decay=decay, shrinkage=shrinkage
  )
  with pytest.MonkeyPatch.context() as patch:
    # Blocks of one, a few, or all items.
    patch.setattr(item_knn, "_BLOCK_ENTRIES", entries * (_NUM_ITEMS + 1))
    ranker = ItemKNN.build(_InMemory(lists), **options)
  assert ranker.options == options
  score_BV = ranker.scores(_requests(queries))
  expected = [_by_formula(lists, query, **options) for query in queries]
  np.testing.assert_allclose(score_BV, expected, rtol=1e-12, atol=1e-12)

  ids_BK, scores_BK, aux = ranker.search(_requests(queries), _NUM_ITEMS)
  assert aux == {}
  for ids_K, scores_K, wanted in zip(ids_BK, scores_BK, expected, strict=True):
    assert sorted(ids_K) == list(range(1, _NUM_ITEMS + 1))
    np.testing.assert_allclose(
      scores_K, np.array(wanted)[ids_K], rtol=1e-6, atol=1e-12
    )
    for place in range(1, _NUM_ITEMS):
      if scores_K[place - 1] == scores_K[place]:
        assert ids_K[place - 1] < ids_K[place]
      assert scores_K[place - 1] >= scores_K[place]


def _random_lists(seed: int, users: int = 60, length: int = 10):
  rng = np.random.default_rng(seed)
  return rng.integers(1, _NUM_ITEMS + 1, size=(users, length)).tolist()


def test_held_out_events_change_nothing_and_training_events_do():
  lists = _random_lists(0)
  query = _requests([[1, 2, 3]])
  before = ItemKNN.build(_InMemory(lists)).scores(query)
  rng = np.random.default_rng(1)
  other = [
    items[:-2] + rng.integers(1, _NUM_ITEMS + 1, size=2).tolist()
    for items in lists
  ]
  after = ItemKNN.build(_InMemory(other)).scores(query)
  np.testing.assert_array_equal(before, after)
  other = [[1 + item % _NUM_ITEMS] + items for item, *items in lists]
  assert not np.array_equal(
    before, ItemKNN.build(_InMemory(other)).scores(query)
  )


def test_masked_items_and_short_rows():
  ranker = ItemKNN.build(_InMemory(_random_lists(2)))
  allowed = np.zeros((2, _NUM_ITEMS + 1), bool)
  allowed[0, [0, 4, 6]] = True
  ids, scores, _ = ranker.search(
    _requests([[1, 2], [3]]), 4, ItemMask.of(allowed)
  )
  assert sorted(ids[0, :2]) == [4, 6] and ids[0, 2:].tolist() == [0, 0]
  assert np.isfinite(scores[0, :2]).all()
  assert ids[1].tolist() == [0] * 4
  assert (scores[1] == -np.inf).all() and (scores[0, 2:] == -np.inf).all()


def test_tuning_looks_at_validation_targets_and_at_nothing_later():
  # The second-last item of every user is the neighbour of the one before it;
  # a long window drowns it, so the choice must be the window of one.
  rng = np.random.default_rng(3)
  lists = []
  for _ in range(200):
    start = int(rng.integers(0, 15))
    noise = rng.integers(31, 60, size=12).tolist()
    lists.append([2 * start + 1, 2 * start + 2] * 2 + noise)
    last = int(rng.integers(0, 15))
    lists[-1] += [2 * last + 1, 2 * last + 2]
    lists[-1] += rng.integers(1, 60, size=1).tolist()
  windows = ((1, 1.0), (12, 1.0))
  chosen = ItemKNN.tune(_InMemory(lists, 60), windows=windows)
  assert chosen.window == 1
  other = [items[:-1] + [60] for items in lists]
  again = ItemKNN.tune(_InMemory(other, 60), windows=windows)
  assert again.options == chosen.options
  rebuilt = ItemKNN.build(_InMemory(lists, 60), **chosen.options)
  assert (rebuilt.similarity != chosen.similarity).nnz == 0


@pytest.mark.parametrize("filtered", [False, True])
def test_tuning_value_is_that_of_the_evaluation(filtered):
  histories = _InMemory(_random_lists(4))
  ranker = ItemKNN.build(histories, window=3)
  batches = list(iter_requests(histories, "validation", 7))
  result = evaluate(
    ranker.search,
    batches,
    num_items=_NUM_ITEMS,
    ks=(5,),
    filter_history=filtered,
  )
  value = ranker.ndcg(batches, 5, filter_history=filtered)
  assert value == pytest.approx(result.metrics["ndcg@5"])


def test_impossible_settings_and_nothing_to_tune_on_are_named():
  histories = _InMemory([[1, 2]])
  with pytest.raises(ValueError, match="window=0"):
    ItemKNN.build(histories, window=0)
  with pytest.raises(ValueError, match="no user has a validation target"):
    ItemKNN.tune(histories)


@pytest.mark.slow
def test_beats_most_popular_on_movielens(shared, tmp_path):
  source = MovieLens("100k", str(shared / "data/ml-100k.zip"))
  prepare(source, LeaveOneOut(), tmp_path / "data")
  histories, catalog = Histories(tmp_path / "data"), Catalog(tmp_path / "data")
  value = {}
  for name, ranker in (
    ("popular", MostPopular(catalog.count)),
    ("knn", ItemKNN.tune(histories, windows=((5, 0.8), (30, 0.95)))),
  ):
    requests = iter_requests(histories, "test", 200)
    result = evaluate(ranker.search, requests, num_items=catalog.num_items)
    value[name] = result.metrics["ndcg@10"]
  assert value["knn"] > 1.3 * value["popular"] > 0.02


def test_the_target_is_not_read():
  lists = _random_lists(5, users=20)
  ranker = ItemKNN.build(_InMemory(lists))
  record = _InMemory(lists)[3]
  changed = {**record, "item": record["item"].copy()}
  changed["item"][6:] = 1
  np.testing.assert_array_equal(
    ranker.scores(make_requests([(record, 6)])),
    ranker.scores(make_requests([(changed, 6)])),
  )
