# SPDX-License-Identifier: Apache-2.0
"""Members of an ensemble by name: runs, baselines, searches; and wrong ones."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from configs import hstu_movielens
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.baselines.recently_popular import RecentlyPopular
from genrec_jax.core import sharding
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.experiment import ensemble_options, list_member
from genrec_jax.experiment.ensemble_options import EnsembleOptions, in_batches
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.made_lists import Retriever
from genrec_jax.experiment.restored import Loaded
from genrec_jax.retrieval.ensemble import Quotas, ReciprocalRank
from tests.evaluation.toy_ranker import toy_run
from tests.serving.formula_ranker import FEEDBACK, prepared


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
  """A run that finds nothing itself."""
  return toy_run(prepared(tmp_path_factory.mktemp("toy") / "data"), FEEDBACK)


def _requests(run, size=64):
  requests = next(iter_requests(run.histories, "test", size))
  return requests, history_mask(requests, run.histories.manifest.num_items)


def _equal(found, search, requests, k, mask):
  np.testing.assert_array_equal(found, np.asarray(search(requests, k, mask)[0]))


@pytest.mark.parametrize("hide", [True, False])
def test_baselines_searches_and_the_run_itself_are_members(toy, hide):
  requests, mask = _requests(toy)
  popular = MostPopular(toy.catalog.count).search

  def own(requests, k, allowed=None):
    return np.full((len(requests), k), 3), None, {}

  def other(requests, k, allowed=None):
    return np.full((len(requests), k), 5), None, {}

  options = EnsembleOptions.of(
    {
      "members": {
        "knn": "item_knn",
        "popular": "most_popular",
        "recent": "recently_popular",
        "model": "this run",
        "mine": other,
      },
      "num_results": 7,
    }
  )
  assert options.asks_this_run
  assert options.described() == {
    "knn": "item_knn",
    "popular": "most_popular",
    "recent": "recently_popular",
    "model": "this run",
    "mine": "a search",
  }
  search = options.ensemble(toy, own, filter_history=hide)
  knn = ItemKNN.tune(toy.histories, filter_history=hide, seed=toy.seed)
  lists = search(requests, 7, mask)[2]["lists"]
  _equal(lists["knn"], knn.search, requests, 7, mask)
  _equal(lists["popular"], popular, requests, 7, mask)
  recent = RecentlyPopular.build(toy.histories).search
  _equal(lists["recent"], recent, requests, 7, mask)
  for name, item in (("model", 3), ("mine", 5)):
    allowed = mask.dense()[:, item]
    np.testing.assert_array_equal(lists[name][:, 0], np.where(allowed, item, 0))
  assert not EnsembleOptions.of({"members": {"a": other}}).asks_this_run


def test_a_table_is_a_mapping_or_a_file(tmp_path):
  table = {
    "members": {"a": "item_knn", "b": "most_popular"},
    "rule": {"name": "retrieval.Quotas", "quotas": {"a": 20, "b": 10}},
    "num_results": 30,
  }
  path = tmp_path / "both.json"
  path.write_text(json.dumps(table))
  options = EnsembleOptions.of(str(path))
  assert options == EnsembleOptions.of(table)
  assert options.rule == Quotas({"a": 20, "b": 10})
  assert EnsembleOptions.of(options) is options
  usual = EnsembleOptions.of({"members": {"a": "item_knn"}})
  assert (usual.rule, usual.num_results) == (ReciprocalRank(), 100)


@pytest.mark.parametrize(
  ("table", "said"),
  [
    ({}, "ensemble .* needs members"),
    ({"members": {}}, "members={} must map the name"),
    ({"members": ["item_knn"]}, "members=.* must map the name"),
    (
      {"members": {"a": ""}},
      r"members\['a'\]='' must be 'this run', a workdir",
    ),
    ({"members": {"a": 7}}, r"members\['a'\]=7 must be 'this run'"),
    ({"member": {"a": "item_knn"}}, "unknown key 'member' .* mean 'members'"),
    ({"members": {"a": "item_knn"}, "num_results": 0}, "num_results"),
    (
      {"members": {"a": "item_knn"}, "rule": {"name": "data.LeaveOneOut"}},
      r"ensemble.rule \(LeaveOneOut\) lacks check, __call__, which ListRule",
    ),
    (
      {
        "members": {"a": "item_knn"},
        "rule": {"name": "retrieval.Quotas", "quotas": {"a": 99}},
      },
      "quotas are of 99 items together, and num_results=100",
    ),
    ([], r"ensemble=\[\] must be a table"),
    ("none.json", "there is no none.json"),
  ],
)
def test_what_is_no_table_of_members(table, said):
  with pytest.raises(ValueError, match=said):
    EnsembleOptions.of(table)


def test_a_file_that_is_no_json(tmp_path):
  path = tmp_path / "members.json"
  path.write_text("members: a")
  with pytest.raises(ValueError, match="members.json is no JSON"):
    EnsembleOptions.of(path)


def test_an_unknown_member_is_told_the_choices(toy):
  options = EnsembleOptions.of({"members": {"a": "item_kn"}})
  said = "is neither a folder nor a baseline. Did you mean 'item_knn'"
  with pytest.raises(ValueError, match=said):
    options.ensemble(toy, None)


def _table_of(run, path, late=False, gaps=False):
  """A list of eight items for every user, made when the test part begins."""
  histories, num_items = run.histories, run.histories.manifest.num_items
  start = histories.split.test_start_seconds + histories.manifest.epoch_seconds
  lines = ["who,what,place,made"]
  for user, name in enumerate(run.users.ids):
    if gaps and user % 3 == 0:
      continue
    for place, item in enumerate(_eight(user, num_items)):
      what = run.catalog.ids[item]
      lines.append(f"{name},{what},{place},{start + 10**8 * late - 1}")
  path.write_text("\n".join(lines) + "\n")
  return {
    "name": "experiment.TableLists",
    "path": str(path),
    **{"user": "who", "item": "what", "rank": "place", "time": "made"},
  }


def _eight(user, num_items):
  return [1 + (5 * user + place) % num_items for place in range(8)]


@pytest.mark.parametrize("hide", [True, False])
def test_a_table_of_lists_is_a_member(toy, tmp_path, hide):
  requests, mask = _requests(toy)
  mask = mask if hide else None
  node = _table_of(toy, tmp_path / "lists.csv")
  options = EnsembleOptions.of(
    {"members": {"in_use": node, "popular": "most_popular"}, "num_results": 8}
  )
  assert options.described()["in_use"] == "experiment.TableLists"
  num_items = toy.histories.manifest.num_items
  ids, _, said = options.ensemble(toy, None)(requests, 8, mask)
  left = num_items if mask is None else mask.count()
  np.testing.assert_array_equal((ids > 0).sum(axis=1), np.minimum(left, 8))
  short = 0
  for row, user in enumerate(requests.user.tolist()):
    seen = {*requests.history[row]["item"].tolist()} if hide else set()
    wanted = [i for i in _eight(user, num_items) if i not in seen]
    short += len(wanted) < 8
    wanted += [0] * (8 - len(wanted))
    assert said["lists"]["in_use"][row].tolist() == wanted
  assert not hide or short
  search = options.ensemble(toy, None).members["in_use"]
  found, scores, _ = search(requests, 12, None)
  assert found.shape == (len(requests), 12) and not found[:, 8:].any()
  assert (scores[:, 8:] == -np.inf).all() and (np.diff(scores[0, :8]) < 0).all()


def test_a_table_that_lacks_what_is_measured_or_knows_it_is_refused(
  toy, tmp_path
):
  requests, _ = _requests(toy)
  served = dataclasses.replace(requests, target=0 * requests.target)
  for options, said in (
    ({"gaps": True}, "lists of 'in_use' lack .* requests, the first event"),
    ({"late": True}, "'in_use' are made of events after the one .* until 20"),
  ):
    node = _table_of(toy, tmp_path / "lists.csv", **options)
    ensemble = EnsembleOptions.of({"members": {"in_use": node}})
    search = ensemble.ensemble(toy, None)
    with pytest.raises(ValueError, match=said) as error:
      search(requests, 5, None)
    assert "hindsight" not in str(error.value)
    # Nobody measures what is served.
    ids, _, found = search(served, 5, None)
    assert (ids > 0).all()
    if "gaps" in options:
      lacking = requests.user % 3 == 0
      assert 0 < lacking.sum() < len(requests)
      lists = found["lists"]["in_use"]
      np.testing.assert_array_equal((lists > 0).any(axis=1), ~lacking)


def test_who_is_served_does_not_wait_for_all_histories(
  toy, tmp_path, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    list_member, "train_until", lambda _: asked.append(1) or 0
  )
  node = _table_of(toy, tmp_path / "lists.csv")
  search = EnsembleOptions.of({"members": {"in_use": node}}).ensemble(toy, None)
  requests, _ = _requests(toy)
  search(dataclasses.replace(requests, target=0 * requests.target), 5, None)
  assert not asked
  search(requests, 5, None)
  search(requests, 5, None)
  assert len(asked) == 1


def test_lists_of_baselines_are_members_and_another_data_set_s_are_not(
  toy, tmp_path
):
  requests, mask = _requests(toy)
  node = {"name": "experiment.PopularLists", "window_days": 30}
  options = EnsembleOptions.of({"members": {"then": node}, "num_results": 6})
  found = options.ensemble(toy, None)(requests, 6, mask)[2]["lists"]["then"]
  recent = RecentlyPopular.build(toy.histories, window_seconds=30 * 86_400)
  _equal(found, recent.search, requests, 6, mask)

  class Others:
    def open(self, histories):
      return Retriever(lambda requests, k: None, {"fingerprint": "other"})

  options = EnsembleOptions.of({"members": {"a": Others()}})
  with pytest.raises(ValueError, match="'a' is of another data set"):
    options.ensemble(toy, None)
  with pytest.raises(ValueError, match="must be 'this run', a workdir"):
    EnsembleOptions.of({"members": {"a": tmp_path}})


def _run(folder, seed=0, **changes):
  c = hstu_movielens.get_config("quicktest")
  c.data.num_users, c.data.seed = 12, seed
  c.system.width = c.system.backbone.num_layers = 1
  c.requests.update(changes)
  return Run.start(c, folder)


def test_another_run_is_a_member_in_batches_of_its_own(monkeypatch, tmp_path):
  one = _run(tmp_path / "one", batch_size=3)
  params = jax.device_put(one.init_params(), sharding.local().replicated)
  monkeypatch.setattr(
    ensemble_options,
    "load_params",
    lambda run, checkpoint: Loaded(params, checkpoint, 1, {}),
  )
  options = EnsembleOptions.of({"members": {"one": str(tmp_path / "one")}})
  requests, mask = _requests(one, 8)
  search = one.search(params, one.index(params))
  with pytest.raises(ValueError, match="8 requests do not fit a batch of 3"):
    search(requests, 5, mask)
  found = options.ensemble(one, None)(requests, 5, mask)[2]["lists"]["one"]
  rows = 0
  for batch in iter_requests(one.histories, "test", 2):
    mine = mask[rows : rows + len(batch)]
    if not len(mine):
      break
    _equal(found[rows : rows + 2], search, batch, found.shape[1], mine)
    rows += 2
  assert rows == 8
  # Of the same source with other draws: other users and items by the same ids.
  other = _run(tmp_path / "other", seed=1)
  ours = other.histories.manifest.fingerprint
  theirs = one.histories.manifest.fingerprint
  with pytest.raises(ValueError, match=f"fingerprints {theirs} and {ours}"):
    options.ensemble(other, None)


def test_a_ranker_is_no_member(toy, monkeypatch, tmp_path):
  monkeypatch.setattr(ensemble_options.Run, "open", lambda workdir: toy)
  options = EnsembleOptions.of({"members": {"a": str(tmp_path)}})
  with pytest.raises(ValueError, match=r"\(ItemsAlone\) lacks request_batch"):
    options.ensemble(toy, None)


def test_batches_are_put_together_again(toy):
  requests, mask = _requests(toy)
  popular, sizes = MostPopular(toy.catalog.count).search, []

  def counted(requests, k, allowed):
    sizes.append(len(requests))
    return popular(requests, k, allowed)

  for allowed in (mask, None):
    found = in_batches(counted, 7)(requests, 4, allowed)
    for x, y in zip(found, popular(requests, 4, allowed), strict=True):
      np.testing.assert_array_equal(x, y)
  assert max(sizes) == 7 and sum(sizes) == 2 * len(requests)
