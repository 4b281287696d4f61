# SPDX-License-Identifier: Apache-2.0
"""One trained workdir for all tests that use a finished run.

`trained` is a quick run of scripts/train.py on simulated data (200 users, three
steps), made once per session by the commands that a user types, on one device;
the tests themselves see the eight virtual devices of tests/conftest.py. Tests
that write into a workdir take `workdir`, a copy.
"""

from collections.abc import Callable
import json
import pathlib
import shutil
import subprocess

import pytest

from genrec_jax.evaluation.document import write_json
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
Script = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def script() -> Script:
  """Runs scripts/NAME.py with arguments; warnings of ours are not muted."""

  def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    return commands.run([f"scripts/{name}.py", *arguments], cwd=_ROOT)

  return run


@pytest.fixture(scope="session")
def trained(
  tmp_path_factory: pytest.TempPathFactory, script: Script
) -> pathlib.Path:
  """A trained and evaluated workdir; read only."""
  workdir = tmp_path_factory.mktemp("runs") / "trained"
  config = f"--config={_ROOT / 'configs' / 'hstu_movielens.py'}:quicktest"
  for name, arguments in (
    ("train", (config, f"--workdir={workdir}")),
    ("evaluate", (f"--workdir={workdir}",)),
  ):
    done = script(name, *arguments)
    assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"
  return workdir


@pytest.fixture(scope="session")
def results(trained: pathlib.Path) -> pathlib.Path:
  """A folder of finished runs that holds the quick one's document.

  scripts/evaluate.py refuses to put a quick run there, so it is copied.
  """
  path = trained.parent / "results" / "hstu_movielens" / "0.json"
  path.parent.mkdir(parents=True)
  values = json.loads((trained / "evaluation.json").read_text())
  write_json(path, values | {"config": "hstu_movielens"})
  return path.parents[1]


@pytest.fixture
def workdir(trained: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """A copy of the trained workdir to write into."""
  return shutil.copytree(trained, tmp_path / "run")
