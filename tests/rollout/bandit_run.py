# SPDX-License-Identifier: Apache-2.0
"""A command that trains the bandit: bandit_run.py FOLDER STEPS KILL_AT.

The reward of its KILL_AT-th step in this process kills it (0 = of none): what
was drawn for that step is lost, and nothing of it was learnt.
"""

import dataclasses
import os
import pathlib
import signal
import sys

import jax
import jax.numpy as jnp

from genrec_jax.metrics.writer import Writer
from genrec_jax.objectives import GRPO
from genrec_jax.rollout.rewards import TrueNext
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.loop import Loop, LoopOptions, Progress
from genrec_jax.train.termination import Termination
from tests.rollout import cases


@dataclasses.dataclass(frozen=True)
class Deadly(TrueNext):
  """TrueNext, until it kills."""

  at: int = 0

  def __call__(self, constants, item_GKN, target_G, batch):
    seen = []

    def note(rewards):
      seen.append(rewards)
      if len(seen) == self.at:
        os.kill(os.getpid(), signal.SIGKILL)

    reward_GK = super().__call__(constants, item_GKN, target_G, batch)
    jax.debug.callback(note, reward_GK)
    return reward_GK


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


def main(folder, steps, kill_at):
  folder.mkdir(exist_ok=True)
  rollout = cases.online(reward=Deadly(kill_at), renew_steps=4)
  training = cases.Training(rollout, GRPO(kl_weight=0.1))
  progress = Progress()
  with (
    Checkpoints(folder / "checkpoints") as checkpoints,
    Checkpoints(folder / "best") as best,
  ):
    if checkpoints.latest_step is not None:
      one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
      restored = checkpoints.restore(training.state, one)
      training.state = restored.state
      progress = Progress(**restored.progress)
      print(f"resuming at step {int(training.state.step)}", flush=True)
    training.state = jax.tree.map(jnp.asarray, training.state)
    writer = Writer(folder, int(training.state.step), True)
    Loop(
      options=LoopOptions(
        steps=steps, log_every_steps=1, checkpoint_every_steps=3
      ),
      step_fn=lambda state, parts: training.step_fn(state, *parts),
      put=lambda batch: jax.device_put(batch[""]),
      batches=_Batches(training),
      checkpoints=checkpoints,
      best=best,
      writer=writer,
      validate=lambda params: {},
      user_ids=lambda users: [],
      config={},
      progress=progress,
      termination=Termination(),
    ).run(training.state)
    writer.close()


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
