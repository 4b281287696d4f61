# SPDX-License-Identifier: Apache-2.0
"""Other Pythons: the command that tests them, and a smoke test where one is."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# A build, a step, a checkpoint, a sharded table, a kernel against its reference
# and a compilation for a TPU: where releases of jax, flax and orbax differ.
_SMOKE = (
  "tests/core/test_build.py",
  "tests/train/test_step.py",
  "tests/train/test_checkpoints.py",
  "tests/ops/test_embedding_lookup.py",
  "tests/ops/silu_attention/test_compile.py",
)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_a_few_tests_pass_under_another_python(version):
  python = _ROOT / f".venv-{version}" / "bin" / "python"
  if not python.exists():
    pytest.skip(
      f"no .venv-{version}: bash scripts/test_versions.sh {version} makes it"
    )
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  done = subprocess.run(
    [python, "-m", "pytest", "-q", "-p", "no:xdist", *_SMOKE],
    cwd=_ROOT,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path):
  """The two scripts, and a stand-in for test.sh that says what it is given."""
  folder = tmp_path / "my checkout"
  (folder / "scripts").mkdir(parents=True)
  for name in ("test_versions.sh", "venv.sh"):
    shutil.copy(_ROOT / "scripts" / name, folder / "scripts")
  (folder / "scripts" / "test.sh").write_text(
    'echo "$GENREC_VENV|$GENREC_PYTHON|$*"\n'
  )
  return folder


def _test_versions(checkout, *arguments, python):
  return subprocess.run(
    ["bash", str(checkout / "scripts" / "test_versions.sh"), *arguments],
    env={**os.environ, "GENREC_PYTHON": str(python)},
    cwd="/",
    capture_output=True,
    text=True,
  )


def _stub(folder, version):
  """An interpreter that believes to be of another version."""
  path = folder / "python"
  path.write_text(
    f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info ='
    f' {version}; $2"\n'
  )
  path.chmod(0o755)
  return path


def test_an_environment_of_its_own(checkout):
  python = _stub(checkout, (3, 13, 1))
  done = _test_versions(checkout, "3.13", "-k", "step", python=python)
  assert done.stdout == f"{checkout}/.venv-3.13|{python}|-k step\n", done.stderr


def test_another_python_is_not_taken_for_it(checkout):
  python = _stub(checkout, (3, 11, 9))
  done = _test_versions(checkout, "3.12", python=python)
  assert done.returncode == 1
  assert f"{python} is no Python 3.12." in done.stderr
  done = _test_versions(checkout, python=python)
  assert done.returncode == 2 and "usage" in done.stderr
