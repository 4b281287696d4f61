# SPDX-License-Identifier: Apache-2.0
"""A loss that rises far above its start is told once, as a warning."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.metrics.writer import Writer
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.loop import Loop, LoopOptions, Progress
from genrec_jax.train.state import TrainState
from genrec_jax.train.termination import Termination


class _Batches:
  """Batches without anything in them."""

  def __iter__(self):
    return self

  def __next__(self):
    return {}

  def get_state(self):
    return {}

  def set_state(self, state):
    del state


@pytest.mark.parametrize(
  ("losses", "at"),
  [
    ([2, 1, 5, 6.9, 2, 1, 1, 1], None),
    ([2, 1, 7, 5.2, 99, 99, 99, 99], 4),
    ([2, 7, 1, 1, 1, 1, 99, 99], 8),
    ([-2, 1, 99, 99, 99, 99, 99, 99], None),
  ],
)
def test_a_loss_far_above_its_start_is_told_once(losses, at, tmp_path, capsys):
  losses = [float(x) for x in losses]

  def step(state, batch):
    del batch
    done = int(jax.device_get(state.step))
    loss = np.float32(losses[done])
    metrics = {"loss": loss, "grad_norm": loss, "users": 1, "parts": {}}
    after = jax.device_put(np.int32(done + 1))
    return dataclasses.replace(state, step=after), metrics

  with (
    Checkpoints(tmp_path / "checkpoints") as checkpoints,
    Checkpoints(tmp_path / "best") as best,
  ):
    writer = Writer(tmp_path, 0, True)
    Loop(
      options=LoopOptions(steps=len(losses), log_every_steps=2),
      step_fn=step,
      put=lambda batch: batch,
      batches=_Batches(),
      checkpoints=checkpoints,
      best=best,
      writer=writer,
      validate=lambda params: {},
      user_ids=lambda users: [],
      config={},
      progress=Progress(),
      termination=Termination(),
    ).run(TrainState(jnp.int32(0), {"a": jnp.zeros(1)}, ()))
    writer.close()
  lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
  told = [line for line in lines if "warning: at step" in line]
  assert len(told) == (at is not None)
  if told:
    assert f"at step {at} the loss is" in told[0]
    assert "2 at step 1: the training diverges" in told[0]
