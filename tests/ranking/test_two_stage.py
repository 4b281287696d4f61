# SPDX-License-Identifier: Apache-2.0
"""Two stages are one search: equal to brute force, and of one data set."""

import types

import numpy as np
import pytest

from configs import dcn_kuairand, hstu_movielens
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.evaluation.full_ranking import evaluate, history_mask
from genrec_jax.experiment.experiment import Run
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.ranking.two_stage import TwoStage
from genrec_jax.serving.loading import load, load_ranker
from genrec_jax.serving.ranker import Ranker
from genrec_jax.serving.recommender import Recommender
from tests.serving.formula_ranker import formula_ranker


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  return _prepare(tmp_path_factory.mktemp("two") / "data", seed=0)


def _prepare(directory, seed):
  source = Synthetic(num_users=12, num_items=30, mean_events=8.0, seed=seed)
  prepare(source, LeaveOneOut(), directory)
  return Histories(directory)


def _scores(user, items, salt):
  """Arbitrary, with ties, and of this user and item alone."""
  return (items * (7 + salt) + 3 * user) % 11 / 11


def _retrieve(histories):
  items = np.arange(histories.manifest.num_items + 1)

  def search(requests, k, allowed=None):
    ids = np.zeros((len(requests), k), np.int32)
    scores = np.full((len(requests), k), -np.inf, np.float32)
    for row, user in enumerate(requests.user):
      found = _scores(int(user), items, 0)
      found[0] = -np.inf
      if allowed is not None:
        found[~allowed.dense()[row]] = -np.inf
      best = np.argsort(-found, kind="stable")[:k]
      best = best[np.isfinite(found[best])]
      ids[row, : len(best)], scores[row, : len(best)] = best, found[best]
    return ids, scores, {}

  return search


class _Scorer(CandidateScorer):
  """Probabilities of two tasks, without a model."""

  def __init__(self):
    layout = types.SimpleNamespace(feedback=Feedback(("cart", "purchase")))
    super().__init__(layout, lambda batch: batch, None, None, micro_batch=1)

  def score(self, request):
    items, user = request.candidates[0], int(request.user[0])
    assert request.history[0]["user"] == user
    return np.stack([_scores(user, items, s) for s in (1, 2)], axis=1)


def _ranker(histories):
  return Ranker(_Scorer(), ("cart", "purchase"), histories)


@pytest.mark.parametrize(("n", "k"), [(10, 4), (3, 6), (100, 30)])
@pytest.mark.parametrize("hide", [True, False])
def test_the_best_of_what_was_found_by_brute_force(histories, n, k, hide):
  retrieve = _retrieve(histories)
  search = TwoStage.of(
    retrieve, histories, _ranker(histories), n, "cart=1,purchase=-2"
  )
  requests = next(iter_requests(histories, "test", 50))
  num_items = histories.manifest.num_items
  allowed = history_mask(requests, num_items) if hide else None
  k = min(k, num_items)
  ids, values, _ = search(requests, k, allowed)
  assert ids.shape == values.shape == (len(requests), k)
  everything = np.arange(1, num_items + 1)
  for row, user in enumerate(requests.user.tolist()):
    mine = everything
    if hide:
      mine = everything[~np.isin(everything, requests.history[row]["item"])]
    first = sorted(mine, key=lambda i: (-_scores(user, i, 0), i))[: max(n, k)]
    value = {
      i: np.float32(_scores(user, i, 1) - 2 * _scores(user, i, 2))
      for i in first
    }
    expected = sorted(first, key=lambda i: -value[i])[:k]
    found = ids[row][ids[row] > 0]
    assert found.tolist() == expected
    np.testing.assert_allclose(
      values[row][: len(found)], [value[i] for i in expected], atol=1e-6
    )
    assert (values[row][len(found) :] == -np.inf).all()


def test_it_stands_where_a_retriever_does(histories):
  model = Recommender(_retrieve(histories), None, histories, batch_size=5)
  both = model.ranked_by(_ranker(histories), 8, "cart=1")
  user = both.users.ids[3]
  table = both.recommend(user, k=5)
  found = model.recommend(user, k=8)["item_id"].to_list()
  value = {i: _scores(3, np.array(both.catalog.index_of(i)), 1) for i in found}
  expected = sorted(found, key=lambda i: -value[i])[:5]
  assert table["item_id"].to_list() == expected
  everyone = list(both.recommend_all(k=5))
  assert sum(len(t) for t in everyone) == 12 * 5
  mine = next(t for t in everyone if user in t["user_id"])
  assert mine.filter(mine["user_id"] == user)["item_id"].to_list() == expected
  # Not even told from one by an evaluation.
  evaluation = evaluate(
    both.search,
    iter_requests(histories, "test", 5),
    num_items=histories.manifest.num_items,
    ks=(1, 10),
  )
  assert 0 <= evaluation.metrics["hr@10"] <= 1
  # Nobody knows what came of a list of items.
  listed = both.record(history=[found[0], found[1]])
  assert listed["action"].tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:1 of k=")
def test_strangers_and_given_histories_are_ranked_too(histories):
  ranker = formula_ranker(histories)
  popular = MostPopular(Catalog(histories.directory).count)
  model = Recommender(popular.search, None, histories, batch_size=5)
  both = model.ranked_by(ranker, 6, "cart=1")
  ids = both.catalog.ids[1:4]
  events = ranker.history(both.users.ids[0])
  kind = both.catalog.attributes["category"][0]
  asked = [
    ({"history": []}, {"history": []}, "popular"),
    ({"history": ids}, {"history": ids}, "model"),
    ({"history": events}, {"history": events}, "model"),
  ]
  for whom, told, source in asked:
    for wanted in ({}, {"deny": ids[1:]}, {"where": {"category": kind}}):
      wanted = {"filter_history": False, **wanted}
      first = model.recommend(**whom, k=6, **wanted)["item_id"].to_list()
      table = both.recommend(**whom, k=4, **wanted)
      expected = ranker.rank(first, **told, weights="cart=1", k=4)
      assert table["item_id"].to_list() == expected["item_id"].to_list()
      np.testing.assert_array_equal(table["score"], expected["value"])
      assert set(table["source"]) == {source}
  with pytest.warns(UserWarning, match="no user 'new'"):
    stranger = both.recommend("new", k=4)
  assert stranger.equals(both.recommend(history=[], k=4))


def test_what_does_not_go_together(histories, tmp_path):
  retrieve = _retrieve(histories)
  other = _ranker(_prepare(tmp_path / "other", seed=1))
  with pytest.raises(ValueError, match=r"train both on one source"):
    TwoStage.of(retrieve, histories, other)
  with pytest.raises(ValueError, match="num_candidates=0 must be at least 1"):
    TwoStage.of(retrieve, histories, _ranker(histories), 0)
  with pytest.raises(ValueError, match="predicts no 'crt'"):
    TwoStage.of(retrieve, histories, _ranker(histories), 5, "crt=1")


def test_a_retriever_is_no_ranker(tmp_path):
  Run.start(hstu_movielens.get_config("quicktest"), tmp_path / "run")
  with pytest.raises(ValueError, match="is no ranker: hstu_movielens-quick"):
    load_ranker(tmp_path / "run")


def test_a_ranker_alone_is_no_recommender(tmp_path):
  Run.start(dcn_kuairand.get_config("quicktest"), tmp_path / "run")
  with pytest.raises(ValueError, match=r"run is a ranker: .* genrec rank --w"):
    load(tmp_path / "run")


def test_a_user_of_whom_nothing_is_left_gets_nothing(histories):
  requests = next(iter_requests(histories, "test", 2))
  search = TwoStage.of(
    lambda requests, k, allowed: (np.zeros((2, k), np.int32), None, {}),
    histories,
    _ranker(histories),
  )
  ids, values, _ = search(requests, 3)
  assert not ids.any() and (values == -np.inf).all()
