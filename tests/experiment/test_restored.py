# SPDX-License-Identifier: Apache-2.0
"""What is read of a run: on its own data, and whatever else is damaged."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import pytest

from configs import hstu_movielens
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import (
  _of_newest,
  check_finished,
  load_params,
)
from genrec_jax.experiment.training import _mend_best
from genrec_jax.train.checkpoints import Checkpoints, DamagedCheckpoint
from genrec_jax.train.loop import Progress
from genrec_jax.train.state import TrainState

# Arrays of one device are read without saying so again.
pytestmark = pytest.mark.filterwarnings(
  "ignore:Sharding info not provided:UserWarning"
)


def _config(**data):
  config = hstu_movielens.get_config("quicktest-no_bias")
  config.system.backbone.num_layers = 1
  config.data.update(num_users=40, **data)
  return config


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A run with a best of step 3 and a latest of step 5, of fresh values."""
  workdir = tmp_path_factory.mktemp("restored") / "run"
  run = Run.start(_config(), workdir)
  fingerprint = run.histories.manifest.fingerprint
  params = run.init_params()
  for folder, step in (("best", 3), ("checkpoints", 5)):
    progress = Progress(best=0.5, best_step=3, fingerprint=fingerprint)
    with Checkpoints(workdir / folder) as checkpoints:
      checkpoints.save(
        TrainState(jnp.int32(step), params, ()),
        data={},
        progress=dataclasses.asdict(progress),
        config={},
      )
  return workdir


@pytest.fixture
def workdir(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "run")


@pytest.mark.parametrize("checkpoint", ["best", "latest"])
def test_a_model_is_read_on_its_own_data_alone(checkpoint, workdir, tmp_path):
  own = Run.open(workdir).histories.manifest.fingerprint
  other = Run.start(_config(mean_events=9.0), tmp_path / "other")
  shutil.rmtree(workdir / "data")
  shutil.copytree(tmp_path / "other" / "data", workdir / "data")
  now = other.histories.manifest.fingerprint
  assert own != now
  with pytest.raises(ValueError, match=f"another data set .*{own} and {now}"):
    load_params(Run.open(workdir), checkpoint)


def test_the_best_needs_no_latest(workdir, capsys):
  (workdir / "checkpoints" / "5" / "progress" / "data.json").write_text("{")
  run = Run.open(workdir)
  loaded = load_params(run)
  assert (loaded.step, loaded.progress["best_step"]) == (3, 3)
  assert "checkpoints/5 is damaged: " in capsys.readouterr().err
  with pytest.raises(DamagedCheckpoint, match="Start its genrec train again"):
    load_params(run, "latest")
  shutil.rmtree(workdir / "checkpoints")
  assert load_params(run).step == 3
  assert "What the best checkpoint says" in capsys.readouterr().err


def test_a_best_that_was_measured_anew_is_the_one_to_beat(saved, tmp_path):
  """The checkpoint beside it is of before, and says what was lost."""
  state = TrainState(jnp.int32(5), {"a": jnp.zeros(3)}, ())
  anew, lost = Progress(best=0.3, best_step=5), Progress(best=0.5, best_step=3)
  with Checkpoints(tmp_path) as best:
    progress = dataclasses.asdict(anew)
    best.save(state, data={}, progress=progress, config={})
    assert best.steps == [5]
    run = Run.open(saved)
    _mend_best(run, run.program(), best, state, lost, save=pytest.fail)
  assert (lost.best, lost.best_step) == (0.3, 5)


def test_a_best_that_was_deleted_is_said_to_be(workdir, capsys):
  shutil.rmtree(workdir / "best")
  assert load_params(Run.open(workdir)).step == 5
  assert "that of step 3 is gone; genrec train" in capsys.readouterr().err


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


def test_a_run_is_finished_by_the_options_of_now(workdir):
  run = Run.open(workdir)
  # Steps were lowered after its last checkpoint, of step 5.
  check_finished(
    dataclasses.replace(run, train=dataclasses.replace(run.train, steps=5))
  )
  more = dataclasses.replace(run.train, steps=6)
  with pytest.raises(ValueError, match="is not finished. Resume it"):
    check_finished(dataclasses.replace(run, train=more))
