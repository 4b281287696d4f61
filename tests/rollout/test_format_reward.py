# SPDX-License-Identifier: Apache-2.0
"""Draws of all codes, and learning to write those that some item has."""

import dataclasses

import jax
import numpy as np

from genrec_jax.decoding.trie import Trie
from genrec_jax.objectives import FormatReward
from genrec_jax.rollout import SampledCodes
from tests.rollout import cases

# The first six of twelve items are there.
_THERE = 6
_CODES = cases.codes()[: _THERE + 1]


def _rollout(num_samples, requests=16):
  rollout = cases.online(requests, drawer=SampledCodes(num_samples))
  constants = {"trie": Trie.build(_CODES, cases.SIZES), "reward": None}
  return dataclasses.replace(rollout, constants=constants)


def test_codes_are_drawn_as_the_model_has_them_and_some_are_items():
  rollout = _rollout(400)
  params = cases.Training(rollout, FormatReward()).state.params
  requests = rollout.request_batch(0)

  @jax.jit
  def draw(requests):
    found = rollout.draw(
      cases.ask_of, params, rollout.hold(params), requests,
      rollout.constants, cases.KEY, 0,
    )  # fmt: skip
    return found, rollout.faults(found)

  drawn, faults = jax.device_get(draw(requests))
  state_G = requests["request"]["state_G"]
  of_all = np.broadcast_to(cases.codes()[None, 1:], (16, 12, 2))
  p_GV = np.exp(cases.by_tables(params, state_G, of_all).sum(axis=2))
  number_GK = drawn["codes_GKT"] @ [cases.SIZES[1], 1]
  for state in range(cases.STATES):
    mine = number_GK[state_G == state].ravel()
    share_V = np.bincount(mine, minlength=12) / len(mine)
    p_V = p_GV[np.flatnonzero(state_G == state)[0]]
    spread = 5 * np.sqrt(p_V * (1 - p_V) / len(mine))
    assert (np.abs(share_V - p_V) < spread).all()
  legal_GK = number_GK < _THERE
  assert 0 < legal_GK.mean() < 1
  np.testing.assert_array_equal(drawn["where_GK"], legal_GK)
  items_GK = np.where(legal_GK, number_GK + 1, 0)
  np.testing.assert_array_equal(drawn["item_GKN"][..., 0], items_GK)
  assert not any(int(count) for count in faults.values())
  # A request of which no draw is an item ends no training.
  none = {**drawn, "where_GK": np.zeros_like(legal_GK)}
  assert not any(int(count) for count in rollout.faults(none).values())


def test_training_on_form_makes_codes_those_of_items():
  training = cases.Training(_rollout(16), FormatReward(count=5))
  legal = [row["legal"] for row in training.run(40)]
  assert np.mean(legal[:3]) < 0.7 < 0.95 < np.mean(legal[-3:])
