# SPDX-License-Identifier: Apache-2.0
"""A disk that takes no more in the middle of a training.

The system's limit on the size of a file stands for it: what writes gets an
error of the system, below all libraries, and has written a part.
"""

import jax
import numpy as np
import pytest

from genrec_jax.train.checkpoints import Checkpoints
from tests import commands

# Arrays of one device are read without saying so again.
pytestmark = pytest.mark.filterwarnings(
  "ignore:Sharding info not provided:UserWarning"
)

_LIMITED = """
import resource, runpy, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _words(workdir, steps):
  config = commands.ROOT / "configs" / "hstu_movielens.py"
  return [
    str(commands.ROOT / "scripts" / "train.py"),
    f"--config={config}:quicktest",
    f"--workdir={workdir}",
    f"--config.train.steps={steps}",
    "--config.train.eval_every_steps=2",
    "--config.train.checkpoint_every_steps=2",
    "--config.train.eval_users=20",
    "--config.system.backbone.num_layers=1",
    "--config.data.num_users=60",
  ]


def _newest(workdir):
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    found = checkpoints.contents()
  found["progress"].pop("seconds")
  arrays = {name: found.pop(name) for name in ("params", "optimizer")}
  found.pop("config")
  return arrays, found


def test_a_training_goes_on_when_there_is_room_again(tmp_path):
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  for workdir, steps in ((whole, 6), (broken, 2)):
    done = commands.run(_words(workdir, steps))
    assert done.returncode == 0, done.stderr
  saved = broken / "checkpoints" / "2"
  sizes = [p.stat().st_size for p in saved.rglob("*") if p.is_file()]
  script = tmp_path / "limited.py"
  script.write_text(_LIMITED)
  limited = [script, str(max(sizes) // 2), *_words(broken, 6)]
  done = commands.run(limited)
  assert done.returncode == 1
  error = done.stderr[done.stderr.index("error: ") :]
  assert len(error.splitlines()) == 1, error
  assert "file too large: " in error and "Make room and start" in error
  assert str(broken) in error and "tmp" not in error.split(str(broken))[1]
  assert "Traceback" not in done.stderr
  with Checkpoints(broken / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps == [2]
  done = commands.run(_words(broken, 6))
  assert done.returncode == 0, done.stderr
  (ours, rest), (theirs, others) = _newest(broken), _newest(whole)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  assert rest == others and rest["progress"]["examples"] > 0
  assert not list(broken.rglob("*tmp*"))
