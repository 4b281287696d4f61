# SPDX-License-Identifier: Apache-2.0
"""A CPU claims no share of a peak; a chip with a data sheet claims its own."""

import json

import jax
import jax.numpy as jnp
import pytest

from configs import rankmixer_kuairand
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.metered import metered_step
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.experiment.training import alone, train
from genrec_jax.hlo import mfu
from genrec_jax.train.step_meter import StepMeter
from genrec_jax.train.termination import Termination

_PEAK = mfu.Peak(bfloat16=4e9, float32=2e9)


def _config():
  c = rankmixer_kuairand.get_config("quicktest")
  c.data.num_users = 30
  c.system.interactions.num_layers = 1
  return c


_STEP = jax.jit(lambda x: x @ x.T)


class _Product(Program):
  """A program whose step is one product of matrices."""

  @property
  def train_step(self):
    return _STEP

  def abstract_train_arguments(self):
    return (jax.ShapeDtypeStruct((32, 64), jnp.float32),)


@pytest.fixture
def product():
  placement = MeshOptions().place(jax.devices()[:1])
  return _Product.from_config(check_config(_config()), 100, placement)


@pytest.fixture
def known(monkeypatch):
  """This machine's CPU as a chip with a data sheet."""
  monkeypatch.setattr(mfu, "PEAKS", {jax.devices()[0].device_kind: _PEAK})


def test_a_cpu_has_no_peak_and_its_step_is_left_alone(product):
  step, meter = metered_step(product, "float32")
  assert step is _STEP and meter is None


def test_a_known_chip_has_the_flops_of_its_step(product, known, capsys):
  step, meter = metered_step(product, "float32")
  assert meter == StepMeter(flops=2.0 * 32 * 32 * 64, peak=_PEAK.float32)
  assert float(step(jnp.ones((32, 64)))[3, 5]) == 64
  assert metered_step(product, "bfloat16")[1].peak == _PEAK.bfloat16
  assert not capsys.readouterr().out


def test_a_program_that_is_not_understood_has_no_meter(
  product, known, capsys, monkeypatch
):
  monkeypatch.setattr(jax.stages.Compiled, "as_text", lambda self: "?")
  step, meter = metered_step(product, "float32")
  assert meter is None and float(step(jnp.ones((32, 64)))[0, 0]) == 64
  assert "no MFU is logged: the compiled" in capsys.readouterr().out


@pytest.mark.slow
def test_training_logs_it(known, tmp_path):
  with alone(tmp_path / "run") as check:
    train(Run.start(_config(), tmp_path / "run"), Termination(), check)
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  shares = [row["train/mfu"] for row in rows if "train/grad_norm" in row]
  assert len(shares) == 3 and all(x > 0 for x in shares)


def test_a_share_is_work_over_time_and_peak():
  assert StepMeter(flops=3e9, peak=4e9).mfu(2, 3.0) == pytest.approx(0.5)
  assert StepMeter(flops=3e9, peak=4e9).mfu(2, 0.0) == 0.0
  with pytest.raises(ValueError, match="flops=0.0 must be above 0"):
    StepMeter(flops=0.0, peak=1.0)
