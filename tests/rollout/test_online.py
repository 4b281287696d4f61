# SPDX-License-Identifier: Apache-2.0
"""Samples within the train step: what is drawn, compared and learnt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core import sharding
from genrec_jax.objectives import (
  DAPO,
  GBPO,
  GRPO,
  PPOClip,
  SampledPolicy,
  SoftmaxDPO,
)
from genrec_jax.rollout import BeamItems
from genrec_jax.rollout.held_samples import first_of_kind
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.step import make_train_step
from tests.rollout import cases


def _drawn(rollout, params, held=None, step=0, key=cases.KEY):
  requests = rollout.request_batch(step)
  held = rollout.hold(params) if held is None else held

  @jax.jit
  def draw(params, held, requests):
    drawn = rollout.draw(
      cases.ask_of, params, held, requests, rollout.constants, key, step
    )
    ask = cases.ask_of(params)
    return drawn, rollout.score(ask, requests, drawn, rollout.constants)

  return requests, *draw(params, held, requests)


def _params():
  return cases.Training(cases.online(), GRPO(kl_weight=0.0)).state.params


def test_log_probabilities_of_all_three_are_those_of_the_tables():
  rollout = cases.online(renew_steps=3)
  params = _params()
  held = {"behaviour": cases.different(params)}
  held["reference"] = cases.different(held["behaviour"])
  requests, drawn, samples = _drawn(rollout, params, held, step=1)
  state_G = requests["request"]["state_G"]
  assert drawn["where_GK"].all()
  for name, of in (
    ("policy_GKT", params),
    ("old_GKT", held["behaviour"]),
    ("reference_GKT", held["reference"]),
  ):
    wanted = cases.by_tables(of, state_G, drawn["codes_GKT"])
    found = vars(samples)[name]
    np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=name)
  # Importance ratios.
  ratio = np.exp(samples.policy_GKT - samples.old_GKT)
  policy, old = (
    cases.by_tables(p, state_G, drawn["codes_GKT"])
    for p in (params, held["behaviour"])
  )
  np.testing.assert_allclose(ratio, np.exp(policy - old), rtol=1e-5)
  assert np.abs(ratio - 1).max() > 0.1
  # The samples are drawn by the behaviour: its own scores are theirs.
  hit = drawn["item_GKN"][..., 0] == requests["target_G"][:, None]
  np.testing.assert_array_equal(drawn["reward_GK"], hit)


def test_who_draws_is_the_copy_of_the_last_renewal():
  rollout = cases.online(requests=64, num_samples=32, renew_steps=2)
  params = _params()
  sure = jax.tree.map(jnp.zeros_like, params)
  sure["first"] = sure["first"].at[:, 1].set(50.0)
  held = {"behaviour": sure, "reference": params}
  _, drawn, _ = _drawn(rollout, params, held, step=1)
  assert (drawn["codes_GKT"][..., 0] == 1).all()


@pytest.mark.parametrize("fresh", [True, False])
def test_on_policy_a_ratio_is_exactly_one(fresh):
  """Whatever another program made of the same log-probabilities."""
  rollout = cases.online(renew_steps=2)
  params = _params()
  requests, drawn, _ = _drawn(rollout, params)
  drawn = {**drawn, "fresh": jnp.array(fresh)}
  drawn["old_GKT"] = drawn["old_GKT"] + 1e-3
  ask = cases.ask_of(params)
  samples = rollout.score(ask, requests, drawn, rollout.constants)
  same = np.asarray(samples.policy_GKT == samples.old_GKT)
  assert same.all() if fresh else not same.any()
  one = cases.online()
  _, drawn, samples = _drawn(one, params)
  assert "old_GKT" not in drawn and "behaviour" not in one.hold(params)
  np.testing.assert_array_equal(samples.policy_GKT, samples.old_GKT)


def test_the_reference_stays_what_training_starts_from():
  training = cases.Training(cases.online(renew_steps=2), GRPO(kl_weight=0.1))
  start = jax.device_get(training.state.params)
  at = {}
  for step in range(5):
    at[step] = jax.device_get(training.state.params)
    training.run(1)
    held = jax.device_get(training.state.held)
    jax.tree.map(np.testing.assert_array_equal, held["reference"], start)
    jax.tree.map(
      np.testing.assert_array_equal, held["behaviour"], at[step - step % 2]
    )
  assert not np.array_equal(at[1]["first"], at[2]["first"])


def test_a_reference_with_a_period_is_renewed():
  rollout = cases.online(reference_steps=2)
  training = cases.Training(rollout, GRPO(kl_weight=0.1))
  training.run(2)
  at_2 = jax.device_get(training.state.params)
  training.run(2)
  reference = jax.device_get(training.state.held["reference"])
  jax.tree.map(np.testing.assert_array_equal, reference, at_2)
  assert cases.online(reference_steps=None).hold(at_2) == {}


def test_what_is_drawn_is_a_function_of_state_step_and_key():
  rollout, params = cases.online(), _params()
  draws = [_drawn(rollout, params)[1]["item_GKN"] for _ in range(2)]
  np.testing.assert_array_equal(*draws)
  other = _drawn(rollout, params, key=jax.random.key(4))[1]["item_GKN"]
  assert not np.array_equal(draws[0], other)


def test_a_run_that_goes_on_from_a_checkpoint_is_bitwise_the_straight_one(
  tmp_path,
):
  def training():
    return cases.Training(cases.online(renew_steps=4), GRPO(kl_weight=0.1))

  straight, halves = training(), training()
  straight.run(7)
  halves.run(3)  # In the midst of a round: 0 .. 3.
  with Checkpoints(tmp_path / "c") as checkpoints:
    checkpoints.save(halves.state, data={}, progress={}, config={})
    resumed = training()
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    resumed.state = checkpoints.restore(resumed.state, one).state
  resumed.run(4)
  for name in ("params", "opt_state", "held"):
    a, b = (jax.device_get(vars(x.state)[name]) for x in (straight, resumed))
    jax.tree.map(np.testing.assert_array_equal, a, b)
  assert set(resumed.state.held) == {"behaviour", "reference"}


@pytest.mark.parametrize(
  "objective",
  [
    pytest.param(SampledPolicy(PPOClip()), id="PPOClip"),
    DAPO(),
    pytest.param(SampledPolicy(GBPO()), id="GBPO"),
    pytest.param(SoftmaxDPO(beta=1.0), id="SoftmaxDPO"),
  ],
  ids=lambda x: type(x).__name__,
)
def test_training_on_samples_raises_their_reward(objective):
  training = cases.Training(cases.online(), objective)
  rewards = [row["samples/reward"] for row in training.run(60)]
  assert np.mean(rewards[:5]) < 0.25
  assert np.mean(rewards[-5:]) > 0.6


def _by_rows(tree, rows):
  return jax.tree.map(lambda x: sharding.put({"": x}, rows)[""], tree)


def test_a_step_on_eight_devices_is_that_of_one():
  assert jax.device_count() == 8
  results = []
  for devices in (jax.devices()[:1], jax.devices()):
    placement = sharding.MeshOptions().place(devices)
    objective = GRPO(kl_weight=0.1)
    training = cases.Training(cases.online(renew_steps=2), objective)
    step = make_train_step(
      cases.Bandit(),
      objective,
      adamw(0.1),
      cases.KEY,
      placement,
      training.rollout,
    )
    rows, whole = placement.by_rows, placement.replicated
    with jax.set_mesh(placement.mesh):
      step = jax.jit(step, in_shardings=(whole, rows, rows, whole))
      state = jax.device_put(training.state, whole)
      for number in range(2):
        batch, requests, constants = training.batch(number)
        state, metrics = step(
          state,
          sharding.put(batch, rows),
          _by_rows(requests, rows),
          jax.device_put(constants, whole),
        )
    results.append(jax.device_get((state.params, metrics["parts"])))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *results
  )


def test_the_first_sample_may_be_what_came_next():
  rollout = cases.online(with_target=True)
  requests, drawn, _ = _drawn(rollout, _params())
  target_G = requests["target_G"]
  np.testing.assert_array_equal(drawn["item_GKN"][:, 0, 0], target_G)
  np.testing.assert_array_equal(
    drawn["codes_GKT"][:, 0], cases.codes()[target_G]
  )
  assert (drawn["reward_GK"][:, 0] == 1).all()


def test_beams_are_different_and_the_best_there_are():
  rollout = cases.online(drawer=BeamItems(3, num_beams=12))
  params = _params()
  requests, drawn, _ = _drawn(rollout, params)
  state_G = requests["request"]["state_G"]
  every = np.broadcast_to(cases.codes()[None, 1:], (16, 12, 2))
  scores = cases.by_tables(params, state_G, every).sum(axis=2)
  best = np.argsort(-scores, axis=1)[:, :3] + 1
  np.testing.assert_array_equal(drawn["item_GKN"][..., 0], best)


@dataclasses.dataclass(frozen=True)
class _Loud:
  """A reward that leaves its range."""

  low, high, constants, versions = 0.0, 1.0, None, {}
  value: float = 2.0

  def bind(self, run):
    return self

  def request_batch(self, requests):
    return {}

  def __call__(self, constants, item_GKN, target_G, batch):
    return jnp.where(item_GKN[..., 0] == 1, self.value, 0.5)


@pytest.mark.parametrize("value", [2.0, -0.1, np.nan, 1.0])
def test_rewards_out_of_their_range_are_counted(value):
  rollout = cases.online(reward=_Loud(value))
  _, drawn, _ = _drawn(rollout, _params())
  (outside, _), none = zip(*rollout.faults(drawn).items(), strict=True)
  count = int(np.sum(drawn["item_GKN"] == 1)) * (value != 1.0)
  assert outside == "rewards of samples are outside of [0, 1]"
  assert [int(x) for x in none] == [count, 0]


def test_a_sample_that_was_drawn_before_is_no_other_one():
  codes = jnp.array([[[1, 2], [1, 1], [1, 2], [1, 2]]] * 2)
  where = jnp.array([[True] * 4, [False, True, True, True]])
  found = np.asarray(first_of_kind(codes, where))
  wanted = [[True, True, False, False], [False, True, True, False]]
  np.testing.assert_array_equal(found, wanted)


def test_requests_without_a_sample_are_counted():
  rollout = cases.online()
  _, drawn, _ = _drawn(rollout, _params())
  where = np.asarray(drawn["where_GK"]).copy()
  where[3] = False
  faults = rollout.faults({**drawn, "where_GK": jnp.asarray(where)})
  assert int(faults["requests have no sample that is an item"]) == 1


@pytest.mark.parametrize(
  ("option", "words"),
  [
    ({"renew_steps": 0}, "renew_steps=0 must be at least 1"),
    ({"requests": 0}, "requests=0 must be at least 1"),
    ({"reference_steps": -1}, "reference_steps=-1 must be a whole number"),
    ({"drawer": {"num": 0}}, "num_samples=0 must be at least 1"),
    ({"drawer": {"beams": 2}}, "num_beams=2 must be 0 or at least"),
  ],
)
def test_options_that_cannot_be(option, words):
  with pytest.raises(ValueError, match=words):
    if option.get("drawer") == {"num": 0}:
      BeamItems(0)
    if option.get("drawer") == {"beams": 2}:
      BeamItems(3, num_beams=2)
    cases.online(**option)
