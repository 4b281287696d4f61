# SPDX-License-Identifier: Apache-2.0
"""scripts/train.py as several processes, and as fewer and more of them."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from genrec_jax.metrics.writer import read_rows
from tests import commands

pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = """
from configs import hstu_movielens

def get_config(arg):
  c = hstu_movielens.get_config("quicktest-no_bias")
  c.name = "processes-" + arg
  c.system.update(row_multiple=8)
  c.system.backbone.num_layers = 1
  c.objective.negatives.count = 4
  c.train.update(steps=8, log_every_steps=1, eval_every_steps=4, eval_users=50)
  if arg == "rowwise":
    c.pipeline.readers = 4
    c.mesh.preset = "rowwise_tables"
    c.optimizer = {
      "name": "train.DenseAndRowwise",
      "dense": c.optimizer.to_dict(),
      "tables": {
        "name": "train.RowwiseAdagrad", "learning_rate": 1e-2,
      },
    }
  return c
"""


def _free_port():
  with socket.socket() as s:
    s.bind(("localhost", 0))
    return s.getsockname()[1]


def _start(folder, workdir, form, processes, devices, *arguments):
  """Processes of one job, each with so many virtual devices."""
  config = folder / "config.py"
  config.write_text(_CONFIG)
  environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
  command = [str(_ROOT / "scripts" / "train.py")]
  command += [f"--config={config}:{form}", f"--workdir={workdir}", *arguments]
  if processes > 1:
    command += ["--distributed", f"--num_processes={processes}"]
    command += [f"--coordinator=localhost:{_free_port()}"]
  started = []
  for number in range(processes):
    mine = [f"--process_id={number}"] if processes > 1 else []
    with open(folder / f"{workdir.name}-{number}.txt", "w") as output:
      started.append(
        commands.Command(
          command + mine,
          stdout=output,
          stderr=subprocess.STDOUT,
          env=environment,
        )
      )
  return started


def _train(folder, workdir, form, processes, devices, *arguments):
  started = _start(folder, workdir, form, processes, devices, *arguments)
  codes = [process.wait(timeout=300) for process in started]
  assert codes == [0] * processes, _output(folder, workdir)


def _output(folder, workdir, number=0):
  return (folder / f"{workdir.name}-{number}.txt").read_text()


def _scalars(workdir):
  """(step, name) -> value, of losses, norms, metrics and users read."""
  return {
    (row["step"], name): value
    for row in read_rows(workdir / "metrics.jsonl")
    for name, value in row.items()
    if name not in ("step", "seconds")
  }


_ONE_BY_8, _TWO_BY_2 = ("one_by_8", 1, 8), ("two_by_2", 2, 2)


@pytest.mark.parametrize(
  ("form", "others"),
  [("dp", [_TWO_BY_2]), ("rowwise", [_ONE_BY_8, _TWO_BY_2])],
)
def test_any_number_of_processes_goes_on_with_the_loss_of_one_device(
  form, others, tmp_path
):
  straight = tmp_path / "straight"
  _train(tmp_path, straight, form, 1, 1)
  two = tmp_path / "two"
  _train(tmp_path, two, form, 2, 4, "--config.train.steps=4")
  expected = _scalars(straight)
  assert (8, "validation/ndcg@10") in expected
  for name, processes, devices in others:
    workdir = shutil.copytree(two, tmp_path / name)
    _train(tmp_path, workdir, form, processes, devices)
    assert "resuming at step 4 of 8" in _output(tmp_path, workdir)
    got = _scalars(workdir)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
      np.testing.assert_allclose(got[key], value, rtol=1e-4, err_msg=str(key))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_job_and_a_restart_resumes(victim, tmp_path):
  workdir = tmp_path / "run"
  more = ("--config.train.steps=100000", "--lost_after_seconds=5")
  job = _start(tmp_path, workdir, "dp", 2, 2, *more)
  for _ in range(2400):
    rows = read_rows(workdir / "metrics.jsonl")
    if any(row["step"] > 4 for row in rows):
      break
    assert job[0].poll() is None, _output(tmp_path, workdir)
    time.sleep(0.1)
  job[victim].kill()
  assert job[victim].wait(timeout=60) == -signal.SIGKILL
  code = job[1 - victim].wait(timeout=60)
  output = _output(tmp_path, workdir, 1 - victim)
  if victim == 0 and code == -signal.SIGABRT:
    # With process 0 goes the job's store, which the runtime notices first.
    assert "another task died" in output
  else:
    assert code == 1
    assert "it resumes at the last checkpoint" in output, output
    assert "Traceback" not in output
  _train(tmp_path, workdir, "dp", 1, 4, "--config.train.steps=12")
  assert "resuming at step" in _output(tmp_path, workdir)


def test_a_bad_mesh_ends_every_process_with_one_line(tmp_path):
  workdir = tmp_path / "run"
  job = _start(tmp_path, workdir, "dp", 2, 2, "--config.mesh.axes.data=3")
  assert [process.wait(timeout=120) for process in job] == [1, 1]
  output = "".join(_output(tmp_path, workdir, n) for n in range(2))
  assert "does not make a mesh of the 4 device(s)" in output
  assert "Traceback" not in output


_SLOW_LEAVER = """
import sys, time
import jax
from genrec_jax.core import processes

me = int(sys.argv[2])
leave = jax.distributed.shutdown

def shutdown():
  time.sleep(3 * me)
  leave()

jax.distributed.shutdown = shutdown
with processes.joined(f"localhost:{sys.argv[1]}", 2, me):
  pass
"""


def test_a_process_slow_to_leave_is_waited_for(tmp_path):
  script = tmp_path / "leave.py"
  script.write_text(_SLOW_LEAVER)
  port = str(_free_port())
  job = [
    subprocess.Popen(
      [sys.executable, str(script), port, str(number)],
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)},
    )
    for number in range(2)
  ]
  assert [process.wait(timeout=120) for process in job] == [0, 0]
