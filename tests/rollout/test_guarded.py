# SPDX-License-Identifier: Apache-2.0
"""A training on samples is ended by its guards, and by nothing less."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.metrics.writer import Writer
from genrec_jax.objectives import PPOClip, SampledPolicy
from genrec_jax.rollout.sample_quality import _metrics_of
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.guards import (
  AtLeast,
  FallAtMost,
  GuardTripped,
  RiseAtMost,
)
from genrec_jax.train.loop import Loop, LoopOptions, Progress
from genrec_jax.train.termination import Termination
from tests.rollout import cases

_HEAD = np.arange(cases.ITEMS + 1) == 1


@dataclasses.dataclass(frozen=True)
class _OfTable:
  """A reward by item alone: as good as its table is."""

  table: tuple
  low, high, constants, versions = 0.0, 1.0, None, {}

  def bind(self, run):
    return self

  def request_batch(self, requests):
    return {}

  def __call__(self, constants, item_GKN, target_G, batch):
    state = jnp.argmax(target_G[:, None] == cases.TARGETS[None], axis=1)
    return jnp.asarray(self.table)[state[:, None], item_GKN[..., 0]]


def _table(honest):
  """1 for what comes next in a state, or for something that never does."""
  table = np.zeros((cases.STATES, cases.ITEMS + 1), np.float32)
  table[np.arange(cases.STATES), cases.TARGETS if honest else 1] = 1
  return tuple(map(tuple, table.tolist()))


class _Batches:
  """The arguments of steps, in their order."""

  def __init__(self, training):
    self.training, self.step = training, int(training.state.step)

  def __iter__(self):
    return self

  def __next__(self):
    self.step += 1
    return {"": self.training.batch(self.step - 1)}

  def get_state(self):
    return {}

  def set_state(self, state):
    del state


def _loop(folder, training, guards, progress=None, steps=40):
  rollout = training.rollout
  watch = jax.jit(
    lambda params, requests: rollout.watch(
      cases.ask_of(params), requests, rollout.constants, cases.KEY
    )
  )

  def validate(params):
    found = jax.device_get(watch(params, rollout.request_batch(0)))
    return _metrics_of(found, _HEAD)

  def step(state, parts):
    state, metrics = training.step_fn(state, *parts)
    return state, metrics

  with (
    Checkpoints(folder / "checkpoints") as checkpoints,
    Checkpoints(folder / "best") as best,
  ):
    writer = Writer(folder, 0, True)
    loop = Loop(
      options=LoopOptions(
        steps=steps, log_every_steps=10, eval_every_steps=5, monitor="reward"
      ),
      step_fn=step,
      put=lambda batch: jax.device_put(batch[""]),
      batches=_Batches(training),
      checkpoints=checkpoints,
      best=best,
      writer=writer,
      validate=validate,
      user_ids=lambda users: [],
      config={},
      progress=Progress() if progress is None else progress,
      termination=Termination(),
      guards=guards,
    )
    try:
      return loop.run(training.state), loop.progress
    finally:
      writer.close()


def _training(honest):
  return cases.Training(
    cases.online(reward=_OfTable(_table(honest))), SampledPolicy(PPOClip())
  )


_GUARDS = {
  "gate": AtLeast("reward_auc", 0.6),
  "nll": RiseAtMost("held_out_nll", 0.02),
}


def test_an_honest_reward_passes_the_gate_and_is_learnt(tmp_path):
  training = _training(honest=True)
  state, progress = _loop(tmp_path, training, _GUARDS)
  assert int(state.step) == 40 and not progress.tripped
  assert progress.before["reward_auc"] == 1
  assert progress.best > 0.5 > progress.before["reward"]


def test_a_reward_that_tells_nothing_is_stopped_before_the_first_step(
  tmp_path,
):
  with pytest.raises(GuardTripped, match="step 0: the guard 'gate' ends"):
    _loop(tmp_path, _training(honest=False), _GUARDS)
  assert not (tmp_path / "checkpoints").exists()


def test_without_the_gate_the_held_out_loss_ends_it_for_good(tmp_path):
  guards = {"nll": _GUARDS["nll"]}
  training = _training(honest=False)
  with pytest.raises(GuardTripped, match=r"the guard 'nll' .* is up from"):
    _loop(tmp_path, training, guards)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    step = checkpoints.latest_step
    assert 0 < step < 40
    progress = Progress(**checkpoints.progress(step))
  assert progress.best_step < step
  # Started again it stays ended, and says why.
  again = _training(honest=False)
  again.state = dataclasses.replace(
    again.state, step=jnp.asarray(step, jnp.int32)
  )
  with pytest.raises(GuardTripped, match=f"step {step}: the guard 'nll'"):
    _loop(tmp_path, again, guards, progress)


@pytest.mark.parametrize(
  ("guard", "now", "trips"),
  [
    (AtLeast("m", 0.6), 0.6, False),
    (AtLeast("m", 0.6), 0.59, True),
    (AtLeast("m", 0.6), np.nan, True),
    (RiseAtMost("m", share=0.02), 2.03, False),
    (RiseAtMost("m", share=0.02), 2.05, True),
    (RiseAtMost("m", share=0.02), 0.0, False),
    (RiseAtMost("m", by=0.5), 2.4, False),
    (RiseAtMost("m", by=0.5), 2.6, True),
    (RiseAtMost("m", by=0.5), np.nan, True),
    (FallAtMost("m", share=0.1), 1.81, False),
    (FallAtMost("m", share=0.1), 1.79, True),
    (FallAtMost("m", by=0.3), 1.75, False),
  ],
)
def test_limits(guard, now, trips):
  said = guard.tripped({"m": 2.0}, {"m": now})
  assert bool(said) == trips
  assert not trips or "m is" in said


def test_a_guard_of_what_nobody_measures_is_refused():
  with pytest.raises(ValueError, match="watches 'rewrd_auc', .* 'reward_auc'"):
    AtLeast("rewrd_auc", 0.6).tripped({}, {"reward_auc": 1.0})
  with pytest.raises(ValueError, match="share=-1.0 must be a number of 0 or"):
    RiseAtMost("m", share=-1.0)


def test_a_model_that_draws_no_item_has_the_lowest_reward():
  found = {
    "where_GK": np.zeros((2, 2), bool),
    "reward_GK": np.full((2, 2), 9.0),
    "item_GKN": np.zeros((2, 2, 1), int),
    "known_G": np.array([True, True]),
    "nll_G": np.array([2.0, 4.0]),
    "legal_G": np.array([0.0, 0.5]),
    "differs_G": np.array([True, True]),
    "target_G": np.array([0.7, 0.1]),
    "other_G": np.array([0.2, 0.0]),
  }
  for low, reward in ((-1.0, -1.0), (-np.inf, 0.1)):
    assert _metrics_of(found, _HEAD, low) == pytest.approx(
      {
        "reward": reward,
        "reward_best": reward,
        "held_out_nll": 3.0,
        "legal_share": 0.25,
        "head_share": 0.0,
        "reward_auc": 0.75,
      }
    )
  # Of samples through a trie some are items, or something is wrong.
  with pytest.raises(ValueError, match="there is nothing to measure"):
    _metrics_of(found, _HEAD)


def test_what_is_measured_of_samples():
  """Every metric from arrays by hand."""
  found = {
    "where_GK": np.array([[True, True], [True, False]]),
    "reward_GK": np.array([[0.5, 1.0], [0.0, 9.0]]),
    "item_GKN": np.array([[[1], [2]], [[1], [1]]]),
    "known_G": np.array([True, False]),
    "nll_G": np.array([2.0, 100.0]),
    "legal_G": np.array([1.0, 0.5]),
    "differs_G": np.array([True, True]),
    "target_G": np.array([0.7, 0.1]),
    "other_G": np.array([0.2, 0.9]),
  }
  assert _metrics_of(found, _HEAD) == pytest.approx(
    {
      "reward": 0.5,
      "reward_best": 0.5,
      "held_out_nll": 2.0,
      "legal_share": 0.75,
      "head_share": 2 / 3,
      "reward_auc": 1.0,
    }
  )
