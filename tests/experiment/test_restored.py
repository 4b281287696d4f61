# SPDX-License-Identifier: Apache-2.0
"""What is read of a run beside a training that replaces it."""

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.experiment.restored import _of_newest
from genrec_jax.train.checkpoints import Checkpoints, DamagedCheckpoint
from genrec_jax.train.state import TrainState


def _save(checkpoints, step):
  state = TrainState(jnp.int32(step), {"a": jnp.full(3, float(step))}, ())
  checkpoints.save(state, data={}, progress={}, config={})


def test_a_checkpoint_that_is_replaced_meanwhile_is_read_anew(tmp_path):
  one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with Checkpoints(tmp_path, keep=1) as trainer:
    _save(trainer, 1)
    assert trainer.steps == [1]

    def read(found, step):
      if trainer.latest_step == 1:
        _save(trainer, 2)
        assert trainer.steps == [2]
      return found.restore_params({"a": jnp.zeros(3)}, one, step)

    step, params = _of_newest(tmp_path, read)
    assert step == 2 and params["a"].tolist() == [2, 2, 2]
    # What is damaged and not replaced is said to be.
    (tmp_path / "2" / "params" / "_METADATA").unlink()
    with pytest.raises(DamagedCheckpoint, match="_METADATA is missing"):
      _of_newest(tmp_path, read)
