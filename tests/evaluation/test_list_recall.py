# SPDX-License-Identifier: Apache-2.0
"""What lists find of baskets, whose, and which list a reward takes."""

import dataclasses
import types

import numpy as np
import pytest

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.dataset.target_lists import Baskets
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.splits import TimeCut
from genrec_jax.evaluation.list_auc import ListAuc
from genrec_jax.evaluation.list_recall import ListRecall
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.list_rewards import BestOfLists, ListRewards
from genrec_jax.experiment.restored import Loaded
from genrec_jax.models.list_reward import ListReward
from genrec_jax.retrieval.beam_lists import BeamLists
from genrec_jax.retrieval.generative import Beam

_RULE = Baskets(size=2, least=2)


class _Histories:
  """Ten users of five requests, the last two of which are held out."""

  split = TimeCut(30, 40, once_a_moment=True)
  manifest = types.SimpleNamespace(num_items=20, actions=("",))

  def __len__(self):
    return 10

  def __getitem__(self, user):
    rng = np.random.default_rng(user)
    request = np.repeat(np.arange(5), rng.integers(1, 5, 5)).astype(np.int32)
    return {
      "user": np.array(user, np.int32),
      "item": rng.integers(1, 21, len(request)).astype(np.int32),
      "time": request * 10,
      "request": request,
    }


def _last_items(params):
  """A search for what was taken last."""
  del params

  def search(requests, k, allowed):
    assert allowed is None and len(requests) <= 3
    ids = np.zeros((len(requests), k), np.int32)
    for row, record in enumerate(requests.history):
      last = record["item"][::-1][:k]
      ids[row, : len(last)] = last
    return ids, np.zeros(ids.shape), {}

  return search


class _Run(Run):
  """A run of which only what is asked of it is there."""

  def search(self, params, index=None, program=None):
    return _last_items(params)

  def index(self, params, retriever=None):
    return None


def _run(**more):
  layout = types.SimpleNamespace(
    request_batch=None, shortened=None, lists=_RULE, users=None, wanted=None
  )
  run = object.__new__(_Run)
  vars(run).update(
    histories=_Histories(),
    config={"seed": 0},
    requests=types.SimpleNamespace(batch_size=3),
    train=types.SimpleNamespace(eval_users=None),
    pipeline=types.SimpleNamespace(layout=layout),
    **{"retrieval": BeamLists(2, 4), "system": None, **more},
  )
  return run


def _by_hand(request, users):
  """Mean share of two places that are in the basket."""
  shares = []
  for user in users:
    record = _Histories()[user]
    mine = record["request"] == request
    right = {*record["item"][mine].tolist()}
    if len(right) >= 2:
      last = record["item"][record["request"] < request][::-1][:2].tolist()
      shares.append(len({*last} & right) / 2)
  return shares


def test_lists_of_a_part_are_compared_with_whole_baskets():
  evaluator = ListRecall(_RULE, (2,))
  expected = _by_hand(3, range(10))
  assert 0 < np.mean(expected) < 1
  found = evaluator.validate(_run(), None, None)
  assert found["list_recall@2"] == pytest.approx(np.mean(expected))
  assert set(found) == set(evaluator.names)
  document, kept = evaluator.measure(
    _run(), Loaded(None, "best", 1, {}), baselines=False
  )
  assert kept is None
  test = _by_hand(4, range(10))
  assert document["metrics"]["test"]["recall@2"] == pytest.approx(np.mean(test))
  assert document["counts"]["test"]["lists"] == len(test)
  text = evaluator.text(document)
  assert f"test: {len(test)} lists" in text and "recall@2" in text


def test_a_part_of_the_users_is_measured():
  part = UserPart(1)
  users = [u for u in range(10) if part.has(u)]
  found = ListRecall(_RULE, (2,), users=part).validate(_run(), None, None)
  assert found["list_recall@2"] == pytest.approx(np.mean(_by_hand(3, users)))
  run = _run()
  run.train.eval_users = 3
  few = ListRecall(_RULE, (2,))._pairs(run, "validation", 3)
  assert len({int(record["user"]) for record, _ in few}) == 3


def test_a_model_may_be_asked_for_lists_by_a_search_of_its_own():
  own = BeamLists(2, 7)
  with pytest.raises(ValueError, match="config.retrieval is BeamLists, for"):
    ListRecall(_RULE, (2,), retrieval=own).check(_run(system=object()))
  run = _run()
  assert ListRecall(_RULE, (2,))._asked(run) is run
  # Training does not watch it, nor pay for it.
  evaluator = ListRecall(_RULE, (2,), retrieval=own)
  assert evaluator.names == () and evaluator.validate(run, None, None) == {}


def test_what_cannot_be_measured_is_refused(tmp_path):
  with pytest.raises(ValueError, match="make them the same"):
    ListRecall(Baskets(size=3), (2,)).check(_run())
  with pytest.raises(ValueError, match="returns 2 items, and the ks"):
    ListRecall(_RULE, (2, 3)).check(_run())
  reward = ListRewards(str(tmp_path))
  with pytest.raises(ValueError, match=r"\(Beam\) lacks list_size, lists"):
    ListRecall(_RULE, (2,), reward=reward).check(_run(retrieval=Beam()))
  with pytest.raises(ValueError, match="k=0 must be at least 1"):
    ListRecall(_RULE, (0,))
  system = ListReward(num_items=20, width=4, max_length=5)
  for users in (None, UserPart(1), UserPart(0, seed=1)):
    run = _run(system=system)
    run.pipeline.layout.users = users
    with pytest.raises(ValueError, match="must be different parts of one draw"):
      ListAuc(UserPart(1)).check(run)
  run.pipeline.layout.users = UserPart(0)
  ListAuc(UserPart(1)).check(run)


def test_the_list_of_the_highest_reward_is_taken():
  lists = np.array(
    [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 1], [0, 0]], [[0, 0]] * 3]
  )
  scores = -np.arange(18.0).reshape(3, 3, 2)
  scores[lists == 0] = -np.inf
  rewards = np.array([[0.2, 0.9, 0.9], [0.1, 0.3, 0.99], [0.5, 0.4, 0.3]])
  asked = []

  def search(requests, k, allowed):
    asked.append((k, allowed))
    return lists.reshape(3, 6), scores.reshape(3, 6), {}

  def reward(requests, lists_BNJ):
    np.testing.assert_array_equal(lists_BNJ, lists)
    return rewards

  record = _Histories()[0]
  requests = make_requests([(record, 2)] * 3)
  best = BestOfLists(search, reward, 2, 3)
  mask = ItemMask.of(np.ones((3, 21), bool))
  ids, found, aux = best(requests, 3, mask)
  # Of equals the more probable; what is no list has no reward.
  assert ids.tolist() == [[3, 4, 0], [9, 1, 0], [0, 0, 0]]
  assert found[0].tolist() == [*scores[0, 1], -np.inf]
  assert asked == [(6, mask)]
  assert aux["rewards"][1, 2] == -np.inf
  short = dataclasses.replace(best)(requests, 1, None)
  assert short[0].tolist() == [[3], [9], [0]]
