# SPDX-License-Identifier: Apache-2.0
"""Training by the command: resume, kill, SIGTERM, divergence, wrong workdirs.

Each test starts scripts/train.py as a user does, on a simulated data set that
is prepared once.
"""

import dataclasses
import pathlib
import shutil
import signal
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import genrec_jax
from genrec_jax.data.schema import Manifest
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import CHECKPOINTS, load_params
from genrec_jax.experiment.sections import read_config, write_config
from genrec_jax.metrics.writer import read_rows
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.state import TrainState
from tests import commands

# Arrays of one device are read without saying so again.
pytestmark = pytest.mark.filterwarnings(
  "ignore:Sharding info not provided:UserWarning"
)

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = f"--config={_ROOT / 'configs' / 'hstu_movielens.py'}:quicktest"


def _command(workdir, *arguments):
  return [
    str(_ROOT / "scripts" / "train.py"),
    _CONFIG,
    f"--workdir={workdir}",
    "--config.train.eval_every_steps=10",
    "--config.train.checkpoint_every_steps=5",
    "--config.train.eval_users=20",
    "--config.system.backbone.num_layers=1",
    *arguments,
  ]


def _train(workdir, *arguments):
  return commands.run(_command(workdir, *arguments))


def _start(workdir, *arguments):
  return commands.Command(
    _command(workdir, *arguments), stderr=subprocess.STDOUT
  )


def _wait_for_step(workdir, step, process):
  for _ in range(1200):
    if any(r["step"] >= step for r in read_rows(workdir / "metrics.jsonl")):
      return
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.1)
  raise AssertionError(f"step {step} was not reached")


def _newest(workdir):
  """Everything in the newest checkpoint, as arrays and JSON."""
  with Checkpoints(workdir / "checkpoints") as checkpoints:
    step = checkpoints.latest_step
    read = checkpoints.contents(step)
  arrays = {k: read[k] for k in ("params", "optimizer")}
  return step, arrays, read["data"], read["progress"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """20 steps straight."""
  workdir = tmp_path_factory.mktemp("straight") / "run"
  done = _train(workdir, "--config.train.steps=20")
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture
def prepared(finished, tmp_path):
  """A workdir with the data set and nothing else."""
  shutil.copytree(finished / "data", tmp_path / "run" / "data")
  return tmp_path / "run"


def _same(a, b):
  assert a[0] == b[0]
  jax.tree.map(np.testing.assert_array_equal, a[1], b[1])
  assert a[2] == b[2]
  timeless = [{k: v for k, v in x[3].items() if k != "seconds"} for x in (a, b)]
  assert timeless[0] == timeless[1]


def test_killed_and_started_again_is_bitwise_the_straight_run(
  finished, prepared
):
  process = _start(prepared, "--config.train.steps=20")
  _wait_for_step(prepared, 12, process)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  done = _train(prepared, "--config.train.steps=20")
  assert done.returncode == 0, done.stderr
  assert "resuming at step" in done.stdout
  _same(_newest(finished), _newest(prepared))
  rows = [read_rows(w / "metrics.jsonl") for w in (finished, prepared)]
  for row in (*rows[0], *rows[1]):
    row.pop("seconds")
  assert rows[0] == rows[1]


def test_damage_is_named_and_training_goes_on_before_it(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  newest = workdir / "checkpoints" / "20"
  for path in (newest / "params").rglob("*"):
    if path.is_file() and path.stat().st_size > 1000:
      path.write_bytes(path.read_bytes()[:-500])
  done = _train(workdir, "--config.train.steps=20")
  assert done.returncode == 0, done.stderr
  assert f"the checkpoint {newest} is damaged: {newest}/params/" in done.stderr
  assert "Traceback" not in done.stderr
  assert "going on from step 15" in done.stderr
  assert (workdir / "damaged-checkpoints-20" / "params").is_dir()
  _same(_newest(finished), _newest(workdir))


def test_values_that_are_not_finite_are_never_served(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  run = Run.open(workdir)
  params = jax.tree.map(lambda x: x * np.nan, run.init_params())
  with Checkpoints(workdir / "best", keep=1) as best:
    state = TrainState(jnp.int32(99), params, ())
    best.save(state, data={}, progress={}, config={})
  with pytest.raises(ValueError, match="holds values that are not finite: .*"):
    load_params(run)
  assert load_params(run, "latest").step == 20


def test_a_damaged_best_says_what_may_be_taken_for_it(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  for name, fix in (
    ("best", r"is missing\. Take --checkpoint=latest, or start its .* best\.$"),
    ("latest", r"is missing\. Start its genrec train again: .*whole one\.$"),
  ):
    folder = workdir / CHECKPOINTS[name]
    for path in folder.glob("*/params/_METADATA"):
      path.unlink()
    with pytest.raises(ValueError, match=fix):
      load_params(Run.open(workdir), name)


@pytest.mark.parametrize("damaged", [True, False])
def test_a_best_that_is_lost_is_measured_again(damaged, finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  (best,) = (workdir / "best").iterdir()
  if damaged:
    (best / "params" / "_METADATA").unlink()
  else:
    shutil.rmtree(workdir / "best")
  done = _train(workdir, "--config.train.steps=20")
  assert done.returncode == 0, done.stderr
  assert f"{best} is damaged" in done.stderr or not damaged
  assert "step 20 is measured instead, and kept as the best" in done.stderr
  assert (workdir / f"damaged-best-{best.name}").is_dir() == damaged
  run = Run.open(workdir)
  assert load_params(run).step == 20
  same = jax.tree.map(
    lambda a, b: bool((a == b).all()),
    *(load_params(run, name).params for name in ("best", "latest")),
  )
  assert all(jax.tree.leaves(same))
  done = _train(workdir, "--config.train.steps=20")
  assert done.returncode == 0, done.stderr
  assert "measured instead" not in done.stderr


def test_a_workdir_is_trained_by_one_process(prepared):
  process = _start(prepared, "--config.train.steps=5000")
  _wait_for_step(prepared, 2, process)
  second = _train(prepared, "--config.train.steps=5000")
  process.kill()
  process.communicate()
  assert second.returncode == 1
  assert f"is being trained by process {process.pid} on" in second.stderr
  # The killed one's lock is left behind, and followed at once.
  third = _train(prepared, "--config.train.steps=5")
  assert third.returncode == 0, third.stderr
  assert f"left behind by process {process.pid} on" in third.stderr


@pytest.mark.slow
def test_ten_and_ten_steps_are_twenty(finished, prepared):
  for steps in (10, 20):
    done = _train(prepared, f"--config.train.steps={steps}")
    assert done.returncode == 0, done.stderr
  _same(_newest(finished), _newest(prepared))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("number", "said", "status"),
  [(signal.SIGTERM, "SIGTERM", 0), (signal.SIGINT, "Ctrl-C", 130)],
)
def test_a_signal_saves(number, said, status, finished, prepared):
  process = _start(prepared, "--config.train.steps=5000")
  _wait_for_step(prepared, 7, process)
  process.send_signal(number)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == status, output
  assert f"{said}: saved step" in output
  assert "Traceback" not in output
  step = _newest(prepared)[0]
  assert f"saved step {step};" in output
  last = max(r["step"] for r in read_rows(prepared / "metrics.jsonl"))
  assert last <= step
  assert finished != prepared


@pytest.mark.slow
def test_nan_stops_with_the_step_and_the_users(prepared):
  done = _train(
    prepared,
    "--config.train.steps=20",
    "--config.objective.temperature=1e-42",
  )
  assert done.returncode != 0
  assert "error: step " in done.stderr
  assert "Traceback" not in done.stderr
  assert "users of process 0: u" in done.stderr
  assert "lower the learning rate" in done.stderr


def test_another_config_in_the_workdir_is_an_error(finished):
  done = _train(finished, "--config.system.width=16")
  assert done.returncode != 0
  assert "belongs to a run of another config" in done.stderr
  assert "system.width: 50 there, 16 now" in done.stderr


def test_an_unknown_key_gets_a_suggestion(prepared):
  done = _train(prepared, "--config.train.stepz=3")
  assert done.returncode != 0
  assert "stepz" in done.stderr and "steps" in done.stderr


def test_another_architecture_in_the_checkpoint_is_an_error(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  config = read_config(workdir / "config.json")
  config["system"]["width"] = 16
  write_config(workdir / "config.json", config)
  done = _train(workdir, "--config.system.width=16", "--config.train.steps=20")
  assert done.returncode != 0
  assert "another architecture" in done.stderr
  assert "item_embedding/embedding: checkpoint" in done.stderr


def test_a_finished_run_stays_finished(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  done = _train(workdir, "--config.train.steps=20")
  assert done.returncode == 0, done.stderr
  _same(_newest(finished), _newest(workdir))


def test_best_on_validation_is_kept_apart(finished):
  rows = read_rows(finished / "metrics.jsonl")
  values = {
    r["step"]: r["validation/ndcg@10"]
    for r in rows
    if "validation/ndcg@10" in r
  }
  best = max(values, key=values.get)
  with Checkpoints(finished / "best") as checkpoints:
    assert checkpoints.latest_step == best
    assert checkpoints.progress()["best"] == values[best]


@pytest.mark.slow
def test_warm_start_of_a_larger_catalogue(finished, tmp_path):
  workdir = tmp_path / "run"
  done = _train(
    workdir,
    "--config.train.steps=1",
    "--config.data.num_items=120",
    "--config.optimizer.learning_rate=1e-30",
    f"--config.train.warm_start={finished}",
  )
  assert done.returncode == 0, done.stderr
  assert "items kept" in done.stdout
  before = load_params(Run.open(finished)).params
  after = load_params(Run.open(workdir), "latest").params
  np.testing.assert_array_equal(
    before["backbone"]["layer_0"]["uvqk"]["kernel"],
    after["backbone"]["layer_0"]["uvqk"]["kernel"],
  )
  rows = before["item_embedding"]["embedding"].shape[0]
  assert after["item_embedding"]["embedding"].shape[0] > rows


def test_a_damaged_optimizer_keeps_nobody_from_loading(
  finished, tmp_path, capfd
):
  workdir = shutil.copytree(finished, tmp_path / "run")
  for path in (workdir / "best").glob("*/optimizer/**/*"):
    if path.is_file():
      path.write_bytes(path.read_bytes()[:-1])
  genrec_jax.load(workdir)
  (line,) = capfd.readouterr().err.splitlines()
  assert "/optimizer/" in line and "is not needed here" in line


def test_sigterm_before_the_first_step_exits_0(finished, tmp_path):
  process = _start(tmp_path / "run", "--config.train.steps=5000")
  while not (tmp_path / "run").is_dir():
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.01)
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  assert finished.is_dir()


@pytest.mark.slow
def test_early_stopping_waits_and_can_be_extended(finished, prepared):
  # A learning rate of 0 never improves on the first validation.
  common = (
    "--config.optimizer.learning_rate=1e-30",
    "--config.train.steps=100",
  )
  done = _train(prepared, *common, "--config.train.patience=1")
  assert "early stop at step 20: ndcg@10 has not improved" in done.stdout
  assert _newest(prepared)[0] == 20
  done = _train(prepared, *common, "--config.train.patience=3")
  assert "early stop at step 40" in done.stdout, done.stderr
  assert finished.is_dir()


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--config.train.monitor=ndgc@10", "Did you mean 'ndcg@10'"),
    ("--config.pipeline.row_length=16", "row_length=16 is shorter"),
    ("--config.pipeline.layout.max_length=500", "than the 211 positions"),
    ("--config.system.num_positions=16", "more than the 16 positions"),
    ("--config.pipeline.batch_size=0", "batch_size"),
    ("--config.objective.negatives.count=0", "count"),
  ],
)
def test_what_cannot_train_is_said_before_it_does(prepared, argument, message):
  done = _train(prepared, argument)
  assert done.returncode == 1
  assert "error: " in done.stderr and "Traceback" not in done.stderr
  assert message in done.stderr
  assert not (prepared / "metrics.jsonl").is_file()


def test_a_checkpoint_of_another_data_set_is_an_error(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "run")
  manifest = Manifest.load(workdir / "data")
  dataclasses.replace(manifest, fingerprint="another").save(workdir / "data")
  config = read_config(workdir / "config.json")
  config["prepared"] = str(workdir / "data")
  write_config(workdir / "config.json", config)
  done = _train(workdir, f"--config.prepared={workdir / 'data'}")
  assert done.returncode == 1
  assert "was trained on another data set" in done.stderr


def test_a_prepared_data_set_elsewhere(finished, tmp_path):
  config = read_config(finished / "config.json")
  config["prepared"] = str(finished / "data")
  run = Run.start(config, tmp_path / "run")
  assert run.histories.directory == finished / "data"
  assert not (tmp_path / "run" / "data").exists()


def test_prepared_data_of_another_config_are_refused(finished, tmp_path):
  """Or a run would bear the name of data that it never saw."""
  config = read_config(finished / "config.json")
  config["prepared"] = str(finished / "data")
  config["filter"]["min_user_events"] = 4
  with pytest.raises(ValueError, match="filter.min_user_events: .* 4 wanted"):
    Run.start(config, tmp_path / "run")
