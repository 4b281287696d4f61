# SPDX-License-Identifier: Apache-2.0
"""Killed between drawing and learning, a run goes on as if nothing had been."""

import pathlib
import signal

import jax
import numpy as np
import pytest

from genrec_jax.metrics.writer import read_rows
from genrec_jax.train.checkpoints import Checkpoints
from tests import commands

# Arrays of one device are read without saying so again.
pytestmark = pytest.mark.filterwarnings(
  "ignore:Sharding info not provided:UserWarning"
)

_SCRIPT = pathlib.Path(__file__).with_name("bandit_run.py")


def _train(folder, kill_at=0):
  return commands.run([str(_SCRIPT), str(folder), "9", str(kill_at)])


def _newest(folder):
  with Checkpoints(folder / "checkpoints") as checkpoints:
    step = checkpoints.latest_step
    found = checkpoints.contents(step)
  arrays = {k: found[k] for k in ("params", "optimizer", "held")}
  progress = {k: v for k, v in found["progress"].items() if k != "seconds"}
  return step, arrays, progress


def test_killed_in_the_midst_of_a_round_it_resumes_bitwise(tmp_path):
  straight, killed = tmp_path / "straight", tmp_path / "killed"
  done = _train(straight)
  assert done.returncode == 0, done.stderr
  # Of rounds 0 .. 3 and 4 .. 7, in the step 6 that follows a checkpoint.
  assert _train(killed, kill_at=7).returncode == -signal.SIGKILL
  # What that step drew is on no disk.
  with Checkpoints(killed / "checkpoints") as checkpoints:
    assert checkpoints.latest_step in (3, 6)
  done = _train(killed)
  assert done.returncode == 0, done.stderr
  assert "resuming at step" in done.stdout
  a, b = _newest(straight), _newest(killed)
  assert a[0] == b[0] == 9
  jax.tree.map(np.testing.assert_array_equal, a[1], b[1])
  assert a[2] == b[2]
  rows = [read_rows(f / "metrics.jsonl") for f in (straight, killed)]
  for row in (*rows[0], *rows[1]):
    row.pop("seconds")
  assert rows[0] == rows[1]
