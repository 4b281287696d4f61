# SPDX-License-Identifier: Apache-2.0
"""A config that draws samples: its step without data, and its stages."""

import pytest

from configs import tiger_amazon
from genrec_jax.core.build import to_plain
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.experiment.stages import STAGES, StageJob
from genrec_jax.tpu.compile import steps_of


def _config(form="decoder_only-policy-quicktest"):
  return check_config(tiger_amazon.get_config(form))


@pytest.mark.slow
def test_its_step_is_traced_without_data():
  program = Program.from_config(_config(), 100, MeshOptions().place())
  with program.in_force():
    (step,) = steps_of(program, ("train",))
    state, batch, requests, constants = step.arguments
    assert set(state.held) == {"reference"}
    assert requests["target_G"].shape == (8,)
    traced = step.function.trace(*step.arguments)
  after, metrics = traced.out_info
  assert set(after.held) == {"reference"} and metrics["faults"]
  assert "samples/reward" in metrics["parts"]


def test_what_it_goes_on_from_is_trained_behind_the_tokens(tmp_path):
  config = to_plain(_config())
  job = StageJob(config, ("--config=x",), tmp_path)
  names = [stage.name for stage in STAGES if stage.needed(config)]
  assert names.index("tokens") < names.index("base") < names.index("training")
  assert "before" not in names
  (base,) = (stage for stage in STAGES if stage.name == "base")
  ((command, *words),) = base.commands(job)
  assert command == "train"
  assert f"--config.tokens.directory={tmp_path / 'tokens'}" in words
  assert f"--workdir={tmp_path / 'supervised'}" in words
  (training,) = (stage for stage in STAGES if stage.name == "training")
  ((_, *words),) = training.commands(job)
  assert any(str(tmp_path / "supervised") in word for word in words)
  # A tokenizer that is trained first comes before the tokens, as ever.
  other = to_plain(tiger_amazon.get_config("rqvae-quicktest"))
  names = [stage.name for stage in STAGES if stage.needed(other)]
  assert names.index("before") < names.index("tokens") and "base" not in names
