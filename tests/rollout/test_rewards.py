# SPDX-License-Identifier: Apache-2.0
"""Rewards of trained runs, and what names them."""

import dataclasses
import types

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.experiment.training import check_same_versions
from genrec_jax.rollout.rewards import TrainedReward, TrueNext, VectorScore
from tests.rollout import cases


class _Vectors(nn.Module):
  """Items and states with vectors of three numbers."""

  def setup(self):
    near = nn.initializers.normal(1.0)
    self.table = self.param("table", near, (cases.ITEMS + 1, 3))
    self.states = self.param("states", near, (cases.STATES, 3))

  def query(self, batch):
    return self.states[batch["state_G"]]

  def items(self, ids=None):
    return self.table if ids is None else self.table[ids]

  def reward(self, batch, item_GKN):
    score = jnp.einsum("gd,gknd->gk", self.query(batch), self.items(item_GKN))
    return jax.nn.sigmoid(score)


_BATCH = {"state_G": np.array([0, 3, 2])}
_ITEMS = np.array([[[1, 2], [3, 0]], [[4, 4], [0, 0]], [[12, 5], [6, 7]]])
_TARGETS = jnp.array([2, 12, 6])


def _bound(kind):
  system = _Vectors()
  params = system.init(cases.KEY, _BATCH, method="query")["params"]
  run = types.SimpleNamespace(system=system)
  reward = kind(workdir="runs/r")
  return dataclasses.replace(reward, run=run, constants=params)


def test_the_score_of_vectors_is_the_mean_over_items():
  reward = _bound(VectorScore)
  found = reward(reward.constants, jnp.asarray(_ITEMS), _TARGETS, _BATCH)
  table, states = (
    np.asarray(reward.constants[n], np.float64) for n in ("table", "states")
  )
  for g, k in np.ndindex(3, 2):
    there = _ITEMS[g, k][_ITEMS[g, k] > 0]
    scores = table[there] @ states[_BATCH["state_G"][g]]
    wanted = scores.mean() if len(there) else 0.0
    assert float(found[g, k]) == pytest.approx(wanted, abs=1e-5)


def test_a_trained_reward_is_what_its_model_says():
  reward = _bound(TrainedReward)
  found = reward(reward.constants, jnp.asarray(_ITEMS), _TARGETS, _BATCH)
  table, states = (
    np.asarray(reward.constants[n], np.float64) for n in ("table", "states")
  )
  score = table[_ITEMS].sum(axis=2) @ states[_BATCH["state_G"]][..., None]
  wanted = 1 / (1 + np.exp(-score[..., 0]))
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  assert (reward.low, reward.high) == (0, 1)


def test_what_came_next_is_among_the_items():
  found = TrueNext()(None, jnp.asarray(_ITEMS), _TARGETS, {})
  np.testing.assert_array_equal(found, [[1, 0], [0, 0], [0, 1]])
  none = TrueNext()(None, jnp.asarray(_ITEMS), jnp.zeros(3, jnp.int32), {})
  assert not np.asarray(none).any()


def test_a_run_is_named_once_and_has_to_be_there(tmp_path):
  for names in ({}, {"workdir": "runs/a", "before": "reward"}):
    with pytest.raises(ValueError, match="name a run by one of them"):
      VectorScore(**names)
  run = types.SimpleNamespace(workdir=tmp_path)
  with pytest.raises(ValueError, match=f"{tmp_path}/reward holds no run"):
    TrainedReward(before="reward").bind(run)
  with pytest.raises(ValueError, match="nothing can be computed of its conf"):
    VectorScore(workdir="a")(None, jnp.asarray(_ITEMS), _TARGETS, _BATCH)


def test_a_run_does_not_go_on_with_another_reward():
  check_same_versions({"reward": "new"}, {"reward": "new"}, "runs/a")
  check_same_versions({"reward": "new"}, {}, "runs/a")
  with pytest.raises(ValueError, match="runs/a .* version old, .* gives new"):
    check_same_versions({"reward": "new"}, {"reward": "old"}, "runs/a")


def test_a_reward_that_was_not_good_enough_is_refused():
  TrainedReward("runs/r").check_quality("list_auc", None)
  asking = TrainedReward("runs/r", least=0.6)
  asking.check_quality("list_auc", 0.6)
  with pytest.raises(ValueError, match=r"is list_auc 0.5100 at best, .*=0.6"):
    asking.check_quality("list_auc", 0.51)
  with pytest.raises(ValueError, match="is never validated at best"):
    asking.check_quality("list_auc", None)
